"""Upkeep of the lake's Delta tables: few files, few old versions, no rows that nobody needs.

What readers and writers depend on, and the rule that follows for upkeep:

- **Batch numbers in rows and file statistics.** Star builds, warehouse loads, previews and the comparison of
  new versions choose whole files by `min` and `max` of `_batch`, and filter rows only in files that hold
  other batches too. Rewritten files hold neighbouring batches in order, have the statistics that every
  writer of the platform leaves, and say by their name how many batches they hold if all of them count in the
  ledger (`delta.whole_batches_name`), so that bronze stays readable file by file. Files of a batch that is
  not in the ledger yet belong to a run that is under way, and files of a batch that never came into it are
  read by nobody: both are left alone.
- **Other statistics.** Row counts (the last record id of a fact, the count of a bronze table), the years of
  the calendar, rules proven for a batch and missing values of a warehouse's columns come from statistics.
  The scratch table that files are written through has the table's own configuration of statistics.
- **App transactions.** The last batch of the ledger, the cursors of star tables, feeds, copies and logs are
  the versions of app transactions. Commits of upkeep carry none, and checkpoints keep all of them.
- **Metadata of the newest commit.** Capture cursors (ledger) and the progress of watches (object logs) are
  in the metadata of the newest commit. Commits of upkeep repeat it. They are never retried on top of a
  commit that they have not read, so that they cannot repeat an old value over a new one.
- **The identity and description of a table** tell a recreated table from a grown one. Nothing recreates
  them.
- **Delta versions outside the lake.** A warehouse records the version that it loaded, and its check counts
  that version's rows. A Snowflake copy records the version that it holds, and reads the log and the files
  that were added since. `RefersToVersions` names these versions: they and all later ones stay readable. Rows
  only move, and such commits say so (`dataChange` is false), so a copy does not load them again.
- **Open handles.** A run reads the version that it opened, for as long as a run may take. All versions of
  the last `keep_hours` stay readable. A file that is in no version may belong to a writer that has not
  committed yet: it stays for as long, and for the longest run in addition.
- **Batch numbers of a table that never counted** are not used again: the app transaction of the table
  remembers them, whichever files there are.
- **Dead letters** decide which row versions of bronze a rebuilt star leaves out. Their keys and batches stay
  for ever; retention only empties the row's content.
- **The sets of versions in the object log and in the findings**: an object whose latest entry were gone
  would be inspected again, so retention drops entries only of objects that are gone, or that a later entry
  follows.

Bronze and the ledger lose no row, ever. What is written before a commit is invisible, and what is removed
after it is in no version that is kept: a process may be killed at any moment.
"""
