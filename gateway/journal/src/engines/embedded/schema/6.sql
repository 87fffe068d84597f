-- Which fours of the block's numbers hold what is present, a bit each, the lowest four in the lowest bit. All are set
-- where it is present often, and in rows from before.
ALTER TABLE present ADD COLUMN fours INTEGER NOT NULL DEFAULT -1
