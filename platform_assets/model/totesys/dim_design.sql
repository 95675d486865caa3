-- Grain: one row per design, latest values.
SELECT
  d.design_id,
  d.design_name,
  d.file_location,
  d.file_name,
  d._change,
  d._batch,
  d._seen_at
FROM totesys.design AS d
