-- Grain: one row per address, latest values.
SELECT
  a.address_id AS location_id,
  a.address_line_1,
  a.address_line_2,
  a.district,
  a.city,
  a.postal_code,
  a.country,
  a.phone,
  a._change,
  a._batch,
  a._seen_at
FROM totesys.address AS a
