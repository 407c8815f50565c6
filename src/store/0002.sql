-- What goes straight to an address that the seller chose, beside the price, and that address.
ALTER TABLE purchases ADD COLUMN fund INTEGER CHECK (fund >= 0);
ALTER TABLE purchases ADD COLUMN fund_payee TEXT;
