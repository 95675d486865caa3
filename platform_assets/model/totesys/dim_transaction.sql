-- Grain: one row per transaction, latest values.
SELECT
  t.transaction_id,
  t.transaction_type,
  t.sales_order_id,
  t.purchase_order_id,
  t._change,
  t._batch,
  t._seen_at
FROM totesys.transaction AS t
