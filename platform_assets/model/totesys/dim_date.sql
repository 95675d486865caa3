-- Grain: one row per day of the years that the facts' dates lie in. The calendar knows which days are new.
SELECT
  c.date_id,
  CAST(EXTRACT(YEAR FROM c.date_id) AS INT) AS year,
  CAST(EXTRACT(MONTH FROM c.date_id) AS INT) AS month,
  CAST(EXTRACT(DAY FROM c.date_id) AS INT) AS day,
  CAST(EXTRACT(ISODOW FROM c.date_id) AS INT) AS day_of_week,
  STRFTIME(c.date_id, '%A') AS day_name,
  STRFTIME(c.date_id, '%B') AS month_name,
  CAST(EXTRACT(QUARTER FROM c.date_id) AS INT) AS quarter,
  'insert' AS _change,
  c._batch,
  c._seen_at
FROM reference.calendar AS c
