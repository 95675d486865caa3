-- Grain: one row per company, latest values, with its registered address.
SELECT
  c.counterparty_id,
  c.counterparty_legal_name,
  a.address_line_1 AS counterparty_legal_address_line_1,
  a.address_line_2 AS counterparty_legal_address_line_2,
  a.district AS counterparty_legal_district,
  a.city AS counterparty_legal_city,
  a.postal_code AS counterparty_legal_postal_code,
  a.country AS counterparty_legal_country,
  a.phone AS counterparty_legal_phone_number,
  CASE WHEN c._change = 'delete' OR c._batch >= a._batch THEN c._change ELSE 'update' END AS _change,
  GREATEST(c._batch, a._batch) AS _batch,
  GREATEST(c._seen_at, a._seen_at) AS _seen_at
FROM totesys.counterparty AS c
JOIN totesys.address AS a ON a.address_id = c.legal_address_id
