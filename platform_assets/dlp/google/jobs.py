"""Inspection by jobs: Google reads objects on Cloud Storage itself, and counts its findings.

A job returns the number of findings for each info type, without locations and likelihoods. It writes single
findings only to a BigQuery table, if one is configured.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.google.access import DlpUnavailable
from platform_assets.dlp.google.messages import likelihood_of, to_google
from platform_assets.dlp.model import Coverage, InspectConfig, InspectResult, Likelihood, Status, Tally
from platform_assets.errors import DlpError
from platform_assets.formats.problems import Problem, ProblemKind

if TYPE_CHECKING:
    from google.cloud import dlp_v2

    from platform_assets.dlp.google.access import DlpSession

CONTENT_UP_TO = 4 * 1024 * 1024
"""Size in bytes of the largest object that is inspected by content although a job could inspect it."""

OPENED_BY_CONTENT = frozenset(
    (".7z", ".bz2", ".gz", ".jar", ".msg", ".orc", ".parquet", ".tar", ".tgz", ".xls", ".xz", ".zip", ".zst")
)
"""Suffixes of files that a job inspects as plain bytes, so that it finds nothing in compressed content."""

_PREFIX = "platform-assets"
# Google puts this before the id of an inspection job to form the job's name.
_NAMED = "i-"
# Characters with a special meaning in RE2.
_SPECIAL = re.compile(r"[\\.^$*+?{}|()\[\]]")
_ESCAPED = re.compile(r"\\(.)")
_MOST_ATTEMPTS = 10
_MOST_BYTES = 500_000
_MOST_ERRORS = 3
_PAGE = 100


@dataclass(frozen=True)
class GcsObject:
    """A version of an object on Cloud Storage.

    Args:
        bucket: Name of the bucket.
        name: Name of the object.
        generation: The version. A job always reads the latest version; the generation tells jobs for
            different versions apart.
        size: Its size in bytes, None if unknown.
    """

    bucket: str
    name: str
    generation: str
    size: int | None = None

    @property
    def uri(self) -> str:
        """Its URI."""
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True)
class JobOptions:
    """Options of jobs.

    Args:
        topic: Pub/Sub topic for a message with the job's name when it is done, as
            `projects/PROJECT/topics/TOPIC`.
        findings_table: BigQuery table for findings, without the found values, as `PROJECT.DATASET.TABLE`.
        bytes_per_object: Bytes to read of each object, from its start; None means all.
        is_limited: True if a job ends when the configuration's limits of findings are reached. It then stops
            counting.
    """

    topic: str | None = None
    findings_table: str | None = None
    bytes_per_object: int | None = None
    is_limited: bool = False


@dataclass(frozen=True)
class GoogleJobs:
    """Inspects objects on Cloud Storage by jobs, each version with each configuration once.

    Args:
        config: The configuration.
        session: The session.
        options: The options of jobs.
        wait_for: The longest wait for a job, in seconds.
        first_wait: The wait between the first and second poll of a job, in seconds; increased by half each
            time.
        longest_wait: The longest wait between polls.
        sleep: Waits.
    """

    config: InspectConfig
    session: DlpSession
    options: JobOptions = JobOptions()
    wait_for: float = 3_600
    first_wait: float = 2
    longest_wait: float = 60
    sleep: Callable[[float], None] = time.sleep

    def inspect_object(self, object_: GcsObject, scan: Callable[[], InspectResult]) -> InspectResult:
        """Inspect an object by content, which gives locations of findings, or by a job if it is large.

        Args:
            object_: The object.
            scan: Inspects it by content. Also used for files that a job would read as plain bytes.

        Raises:
            DlpUnavailable: The job is not done in time, or Google does not answer.
            DlpError: Google rejects the job.
        """
        suffix = PurePosixPath(object_.name).suffix.lower()
        is_small = object_.size is not None and object_.size <= CONTENT_UP_TO
        return scan() if is_small or suffix in OPENED_BY_CONTENT else self.inspect([object_])

    def inspect(self, objects: Sequence[GcsObject]) -> InspectResult:
        """Inspect objects of one bucket in one job, and wait for it.

        Args:
            objects: The objects. The counts of several objects cannot be separated.

        Returns:
            The result; UNREADABLE if the job failed or was cancelled before it read anything.

        Raises:
            DlpUnavailable: The job is not done in time, or Google does not answer. The job continues, and the
                next attempt waits for the same job.
            DlpError: Google rejects the job.
        """
        if objects and all(object_.size == 0 for object_ in objects):
            return InspectResult(
                _name([object_.uri for object_ in objects]),
                Status.INSPECTED,
                coverage=Coverage(0, 0, 0, None, 1, 1),
            )
        return self.wait(self.start(objects))

    def start(self, objects: Sequence[GcsObject]) -> str:
        """Start a job, or find the job that an earlier attempt started.

        A job that failed or was cancelled is replaced by a new one, up to ten in all.

        Args:
            objects: Objects of one bucket.

        Returns:
            The job's name.

        Raises:
            DlpUnavailable: Google does not answer.
            DlpError: Google rejects the job, or all ten have failed.
        """
        from google.api_core.exceptions import AlreadyExists
        from google.cloud import dlp_v2

        job = self._job_config(objects)
        digest = self._digest(job, objects)
        place = _name([object_.uri for object_ in objects])
        last = None
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            job_id = f"{_PREFIX}-{digest}-{attempt}"
            with self.session.translated(f"start a job that inspects {place}"):
                try:
                    made = self.session.client.create_dlp_job(
                        request=dlp_v2.CreateDlpJobRequest(
                            parent=self.session.parent, inspect_job=job, job_id=job_id
                        ),
                        retry=self.session.retry,
                        timeout=self.session.access.timeout,
                    )
                    return str(made.name)
                except AlreadyExists:
                    # The job was created by an earlier attempt, or by this one and the response was lost.
                    last = self._existing(job_id)
            if last.state not in (dlp_v2.DlpJob.JobState.FAILED, dlp_v2.DlpJob.JobState.CANCELED):
                return str(last.name)
        raise DlpError(
            f"Sensitive Data Protection could not inspect {place}: {_MOST_ATTEMPTS} jobs for it failed or "
            f"were cancelled, the last was {last.name if last else ''}. The reason is shown at "
            "https://console.cloud.google.com/security/sensitive-data-protection?project="
            f"{self.session.project}."
        )

    def wait(self, name: str) -> InspectResult:
        """Wait until a job is done, polling less and less often.

        Args:
            name: The job's name.

        Returns:
            The result.

        Raises:
            DlpUnavailable: The job is not done in time, or Google does not answer.
            DlpError: The job does not exist.
        """
        until = time.monotonic() + self.wait_for
        pause = self.first_wait
        while True:
            job = self._get(name)
            result = _result(job)
            if result is not None:
                return result
            left = until - time.monotonic()
            if left <= 0:
                raise DlpUnavailable(
                    f"The inspection job {name} is still {job.state.name} after {self.wait_for:g} s. It "
                    "continues, and the next attempt waits for the same job. Large objects need a longer "
                    "wait."
                )
            self.sleep(min(pause, left))
            pause = min(pause * 1.5, self.longest_wait)

    def result(self, name: str) -> InspectResult | None:
        """The result of a job, None while it is not done.

        Args:
            name: The job's name, as in the Pub/Sub message.

        Raises:
            DlpUnavailable: Google does not answer.
            DlpError: The job does not exist.
        """
        return _result(self._get(name))

    def unfinished(self) -> Iterator[str]:
        """Names of the platform's jobs that are waiting or running, page by page.

        Raises:
            DlpUnavailable: Google does not answer.
            DlpError: Google rejects the request.
        """
        with self.session.translated("list jobs"):
            for job in self.session.client.list_dlp_jobs(
                request={
                    "parent": self.session.parent,
                    "filter": "state = PENDING OR state = RUNNING",
                    "page_size": _PAGE,
                },
                retry=self.session.retry,
                timeout=self.session.access.timeout,
            ):
                if _id(job.name).startswith(f"{_PREFIX}-"):
                    yield job.name

    @cached_property
    def _inspect_config(self) -> dlp_v2.InspectConfig:
        names = self.session.looked_for(self.config)
        return to_google(self.config, names, has_limits=self.options.is_limited)

    def _job_config(self, objects: Sequence[GcsObject]) -> dlp_v2.InspectJobConfig:
        from google.cloud import dlp_v2

        buckets = {object_.bucket for object_ in objects}
        if len(buckets) != 1:
            raise DlpError(
                "A job of Sensitive Data Protection inspects objects of one bucket, but these are in "
                f"{len(buckets)} buckets. Start a job for each bucket."
            )
        names = sorted({object_.name for object_ in objects})
        options = self.options
        most = options.bytes_per_object
        is_cut = most is not None and any(object_.size is None or object_.size > most for object_ in objects)
        actions: list[dict[str, Any]] = []
        if options.topic is not None:
            actions.append({"pub_sub": {"topic": options.topic}})
        if options.findings_table is not None:
            actions.append({"save_findings": {"output_config": {"table": _table(options.findings_table)}}})
        job = dlp_v2.InspectJobConfig(
            storage_config={
                "cloud_storage_options": {
                    "file_set": _file_set(buckets.pop(), names),
                    "bytes_limit_per_file": most if is_cut else 0,
                }
            },
            inspect_config=self._inspect_config,
            actions=actions,
        )
        size = dlp_v2.InspectJobConfig.pb(job).ByteSize()
        if size > _MOST_BYTES:
            raise DlpError(
                f"A job of Sensitive Data Protection accepts {_MOST_BYTES:,} bytes of configuration, but "
                f"with the names of {len(names):,} objects it has {size:,}. Start jobs with fewer objects."
            )
        return job

    def _digest(self, job: dlp_v2.InspectJobConfig, objects: Sequence[GcsObject]) -> str:
        """Identifies a job: the objects and versions it inspects, its configuration, and its options."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(type(job).pb(job).SerializeToString(deterministic=True))
        for listed in sorted(objects, key=lambda listed: (listed.name, listed.generation)):
            digest.update(b"\0".join((b"", listed.name.encode(), listed.generation.encode())))
        return digest.hexdigest()

    def _existing(self, job_id: str) -> Any:
        """The job with an id, from which Google forms the job's name."""
        from google.api_core.exceptions import NotFound

        try:
            return self._get_raw(f"{self.session.parent}/dlpJobs/{_NAMED}{job_id}")
        except NotFound:
            return self._get_raw(f"{self.session.parent}/dlpJobs/{job_id}")

    def _get(self, name: str) -> Any:
        with self.session.translated(f"look at the job {name}"):
            return self._get_raw(name)

    def _get_raw(self, name: str) -> Any:
        return self.session.client.get_dlp_job(
            request={"name": name}, retry=self.session.retry, timeout=self.session.access.timeout
        )


def _result(job: dlp_v2.DlpJob) -> InspectResult | None:
    """The result of a finished job, None if it is not finished. Uninspected content never counts as clean."""
    from google.cloud import dlp_v2

    states = dlp_v2.DlpJob.JobState
    if job.state not in (states.DONE, states.FAILED, states.CANCELED):
        return None
    asked, found = job.inspect_details.requested_options.job_config, job.inspect_details.result
    storage = asked.storage_config.cloud_storage_options
    config = asked.inspect_config
    uris = _uris(storage.file_set)
    problems = []
    if job.state != states.DONE:
        ended = "was cancelled" if job.state == states.CANCELED else "failed"
        problems.append((ProblemKind.UNREACHABLE, f"Google's job {_id(job.name)} {ended}"))
    problems += [
        (
            ProblemKind.UNREACHABLE,
            f"Google's job {_id(job.name)} reports: {_first_line(error.details.message)}",
        )
        for error in job.errors[:_MOST_ERRORS]
    ]
    if job.state == states.DONE and not found.processed_bytes:
        problems.append(
            (
                ProblemKind.UNREACHABLE,
                f"Google's job {_id(job.name)} read no byte: the object does not exist, is empty, or has no "
                "readable part",
            )
        )
    if storage.bytes_limit_per_file:
        problems.append(
            (
                ProblemKind.SAMPLED,
                f"Google read at most {storage.bytes_limit_per_file:,} bytes of each object",
            )
        )
    tallies = {
        info_type_stat.info_type.name: Tally(
            info_type_stat.count, _least(config, info_type_stat.info_type.name)
        )
        for info_type_stat in found.info_type_stats
        if info_type_stat.count
    }
    if _is_at_limit(config.limits, tallies):
        problems.append(
            (
                ProblemKind.TOO_MANY_FINDINGS,
                "Google stopped at the limit of findings",
            )
        )
    if not problems:
        status = Status.INSPECTED
    else:
        status = Status.PARTIAL if found.processed_bytes else Status.UNREADABLE
    is_whole = status is Status.INSPECTED
    return InspectResult(
        _name(uris),
        status,
        problems[0][1] if problems else "",
        tallies=tallies,
        coverage=Coverage(
            bytes_inspected=found.processed_bytes,
            bytes_total=found.total_estimated_bytes or None,
            parts_inspected=len(uris) if is_whole else 0,
            parts_total=len(uris),
        ),
        problems=tuple(Problem(kind, (), message) for kind, message in problems),
    )


def _least(config: dlp_v2.InspectConfig, name: str) -> Likelihood:
    """The lowest likelihood that a counted finding of an info type can have."""
    for minimum in config.min_likelihood_per_info_type:
        if minimum.info_type.name == name:
            return likelihood_of(minimum.min_likelihood)
    return likelihood_of(config.min_likelihood)


def _is_at_limit(limits: dlp_v2.InspectConfig.FindingLimits, tallies: dict[str, Tally]) -> bool:
    total = sum(tally.count for tally in tallies.values())
    most = max((tally.count for tally in tallies.values()), default=0)
    return 0 < limits.max_findings_per_item <= total or any(
        0 < limit.max_findings <= most for limit in limits.max_findings_per_info_type
    )


def _file_set(bucket: str, names: Sequence[str]) -> dict[str, Any]:
    [name] = names if len(names) == 1 else [""]
    # In a URL, an asterisk or slash at the end stands for many objects.
    if name and not name.endswith(("*", "/")):
        return {"url": f"gs://{bucket}/{name}"}
    patterns = [_SPECIAL.sub(r"\\\g<0>", name) for name in names]
    return {"regex_file_set": {"bucket_name": bucket, "include_regex": patterns}}


def _uris(file_set: dlp_v2.CloudStorageOptions.FileSet) -> list[str]:
    if file_set.url:
        return [file_set.url]
    objects = file_set.regex_file_set
    return [f"gs://{objects.bucket_name}/{_unescaped(pattern)}" for pattern in objects.include_regex]


def _unescaped(pattern: str) -> str:
    """The name that a pattern was made from."""
    return _ESCAPED.sub(r"\1", pattern)


def _name(uris: Sequence[str]) -> str:
    if len(uris) == 1:
        return uris[0]
    bucket = "/".join(uris[0].split("/")[:3]) if uris else "gs://"
    return f"{bucket} ({len(uris)} objects)"


def _table(name: str) -> dict[str, str]:
    parts = name.split(".")
    if len(parts) != 3 or not all(parts):
        raise DlpError(
            f"Findings cannot be written to the table {name}: write its name as PROJECT.DATASET.TABLE."
        )
    return dict(zip(("project_id", "dataset_id", "table_id"), parts, strict=True))


def _id(name: str) -> str:
    return name.rsplit("/", 1)[-1].removeprefix(_NAMED)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]
