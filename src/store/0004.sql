-- What is paid once is looked for by its key, whosever it is.
CREATE INDEX purchases_by_key ON purchases (natural_key);
