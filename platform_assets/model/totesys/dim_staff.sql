-- Grain: one row per member of staff, latest values, with the department they work in.
SELECT
  s.staff_id,
  s.first_name,
  s.last_name,
  d.department_name,
  COALESCE(d.location, 'Unknown') AS location,
  s.email_address,
  CASE WHEN s._change = 'delete' OR s._batch >= d._batch THEN s._change ELSE 'update' END AS _change,
  GREATEST(s._batch, d._batch) AS _batch,
  GREATEST(s._seen_at, d._seen_at) AS _seen_at
FROM totesys.staff AS s
JOIN totesys.department AS d ON d.department_id = s.department_id
