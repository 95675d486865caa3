-- Grain: one row for every version of a purchase order. Versions are numbered by batch, then by order.
SELECT
  CAST($last_record_id + ROW_NUMBER() OVER (ORDER BY o._batch, o.purchase_order_id) AS INT) AS purchase_record_id,
  o.purchase_order_id,
  CAST(o.created_at AS DATE) AS created_date,
  STRFTIME(o.created_at, '%H:%M:%S.%f') AS created_time,
  CAST(o.last_updated AS DATE) AS last_updated_date,
  STRFTIME(o.last_updated, '%H:%M:%S.%f') AS last_updated_time,
  o.staff_id,
  o.counterparty_id,
  o.item_code,
  o.item_quantity,
  o.item_unit_price,
  o.currency_id,
  CAST(o.agreed_delivery_date AS DATE) AS agreed_delivery_date,
  CAST(o.agreed_payment_date AS DATE) AS agreed_payment_date,
  o.agreed_delivery_location_id,
  o._change,
  o._batch,
  o._seen_at
FROM totesys.purchase_order AS o
