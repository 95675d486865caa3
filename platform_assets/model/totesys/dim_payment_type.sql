-- Grain: one row per kind of payment, latest values.
SELECT
  p.payment_type_id,
  p.payment_type_name,
  p._change,
  p._batch,
  p._seen_at
FROM totesys.payment_type AS p
