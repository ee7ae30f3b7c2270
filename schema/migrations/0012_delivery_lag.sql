-- The lag as a number: cut to the bits that it has (T64) it takes 0.2 bytes a row less than as a place in a dictionary
-- (benches/README.md), and no insert has to make that dictionary.
--
-- ClickHouse writes this one column anew in every part, a byte or two a row, and the migration waits for that. Batches land
-- meanwhile and are read as ever. A build before it goes on working: the column travels as the same number.
ALTER TABLE interactions MODIFY COLUMN IF EXISTS delivery_lag_ms Int64 CODEC(T64, ZSTD(1));
