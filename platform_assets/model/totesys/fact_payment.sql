-- Grain: one row for every version of a payment. Versions are numbered by batch, then by payment.
SELECT
  CAST($last_record_id + ROW_NUMBER() OVER (ORDER BY p._batch, p.payment_id) AS INT) AS payment_record_id,
  p.payment_id,
  CAST(p.created_at AS DATE) AS created_date,
  STRFTIME(p.created_at, '%H:%M:%S.%f') AS created_time,
  CAST(p.last_updated AS DATE) AS last_updated_date,
  STRFTIME(p.last_updated, '%H:%M:%S.%f') AS last_updated_time,
  p.transaction_id,
  p.counterparty_id,
  p.payment_amount,
  p.currency_id,
  p.payment_type_id,
  p.paid,
  CAST(p.payment_date AS DATE) AS payment_date,
  p._change,
  p._batch,
  p._seen_at
FROM totesys.payment AS p
