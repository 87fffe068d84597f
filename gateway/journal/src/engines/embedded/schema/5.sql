-- Headers and timings of an attempt, as JSON, where they are kept.
ALTER TABLE attempt ADD COLUMN exchange TEXT;

-- The plugins that ran until one dropped the event, as JSON.
ALTER TABLE delivery ADD COLUMN calls TEXT
