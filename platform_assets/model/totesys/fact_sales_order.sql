-- Grain: one row for every version of a sales order. Versions are numbered by batch, then by order.
SELECT
  CAST($last_record_id + ROW_NUMBER() OVER (ORDER BY o._batch, o.sales_order_id) AS INT) AS sales_record_id,
  o.sales_order_id,
  CAST(o.created_at AS DATE) AS created_date,
  STRFTIME(o.created_at, '%H:%M:%S.%f') AS created_time,
  CAST(o.last_updated AS DATE) AS last_updated_date,
  STRFTIME(o.last_updated, '%H:%M:%S.%f') AS last_updated_time,
  o.staff_id AS sales_staff_id,
  o.counterparty_id,
  o.units_sold,
  o.unit_price,
  o.currency_id,
  o.design_id,
  CAST(o.agreed_payment_date AS DATE) AS agreed_payment_date,
  CAST(o.agreed_delivery_date AS DATE) AS agreed_delivery_date,
  o.agreed_delivery_location_id,
  o._change,
  o._batch,
  o._seen_at
FROM totesys.sales_order AS o
