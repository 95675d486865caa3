-- Grain: one row per currency, latest values. A code that CLDR does not know stands for its own name.
SELECT
  c.currency_id,
  c.currency_code,
  COALESCE(n.currency_name, c.currency_code) AS currency_name,
  c._change,
  c._batch,
  c._seen_at
FROM totesys.currency AS c
LEFT JOIN reference.currency_name AS n ON n.currency_code = c.currency_code
