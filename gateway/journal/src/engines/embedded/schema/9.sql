-- The checksum of where an event belongs: its number, tenant and lanes, which are outside of `crc`.
ALTER TABLE event ADD COLUMN place INTEGER;

-- The checksum of a delivery's key, size, status, due time and counts. Rows of earlier versions have neither.
ALTER TABLE delivery ADD COLUMN crc INTEGER;

-- The checksums of names with their numbers: a name that is taken for another would give a tenant's events away.
ALTER TABLE tenant ADD COLUMN crc INTEGER;
ALTER TABLE lane ADD COLUMN crc INTEGER
