-- What is paid once is looked for by its key, whosever it is.
CREATE INDEX purchases_by_key ON purchases (natural_key);
-- What else it is known by, once it is begun: a direct purchase by the agreement that came of it, an
-- order by the negotiation that it came of.
ALTER TABLE purchases ADD COLUMN other_key TEXT GENERATED ALWAYS AS (
  CASE rail
    WHEN 'paegents_direct' THEN 'paegents:escrow:' || json_extract(instrument, '$.agreement_id')
    WHEN 'croo_order' THEN 'croo:negotiation:' || json_extract(instrument, '$.negotiation_id')
  END) VIRTUAL;
CREATE INDEX purchases_by_other_key ON purchases (other_key) WHERE other_key IS NOT NULL;
