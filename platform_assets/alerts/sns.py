"""Amazon SNS: a topic that forwards alerts to its subscribers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from platform_assets.alert import Alert
from platform_assets.alerts.email import subject, text
from platform_assets.errors import AlertError

_LONGEST_SUBJECT = 100  # characters of ASCII, by the reference of Publish
_MENDED_AFTER = 900.0
_MENDABLE = {
    *("AuthorizationError", "AccessDenied", "NotFound", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    *("ExpiredToken", "OptInRequired", "KMSAccessDenied"),
}


@dataclass(frozen=True)
class SnsNotifier:
    """Publishes to one topic.

    Args:
        topic: The topic's ARN; for a `.fifo` topic, the alert's key is the deduplication id.
        client: A boto3 client of SNS.
    """

    topic: str
    client: Any = field(repr=False)

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`."""
        from botocore.exceptions import BotoCoreError, ClientError

        arguments: dict[str, Any] = {
            "TopicArn": self.topic,
            "Subject": subject(alert).encode("ascii", "replace").decode()[:_LONGEST_SUBJECT],
            "Message": text(alert),
            "MessageAttributes": {"severity": {"DataType": "String", "StringValue": alert.severity.name}},
        }
        if self.topic.endswith(".fifo"):
            arguments |= {"MessageDeduplicationId": alert.key, "MessageGroupId": "alerts"}
        try:
            self.client.publish(**arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            is_later = code.startswith(("Throttl", "Internal", "KMSThrottling", "ServiceUnavailable"))
            is_mendable = code in _MENDABLE
            raise AlertError(
                f"The topic {self.topic} did not accept the message: {code}."
                + (
                    " Check that the topic exists and that the credentials may publish to it."
                    if is_mendable
                    else ""
                ),
                retryable=is_later or is_mendable,
                wait=_MENDED_AFTER if is_mendable else None,
            ) from None
        except BotoCoreError as error:
            raise AlertError(
                f"The topic {self.topic} cannot be reached: {type(error).__name__}. The message is sent "
                "again later.",
                retryable=True,
            ) from None


def sns_client(options: Mapping[str, str]) -> Any:
    """Create an SNS client.

    Args:
        options: `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
            `AWS_ENDPOINT_URL`; missing options are taken from where boto3 looks.

    Raises:
        AlertError: boto3 is not installed, or finds no region.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise AlertError(
            "SNS cannot be reached without boto3: pip install 'platform-assets[aws]'.",
            retryable=True,
            wait=_MENDED_AFTER,
        ) from None
    given = {name.lower().removeprefix("aws_"): value for name, value in options.items()}
    try:
        return boto3.client(
            "sns",
            region_name=given.get("region") or given.get("default_region"),
            endpoint_url=given.get("endpoint_url") or given.get("endpoint"),
            aws_access_key_id=given.get("access_key_id"),
            aws_secret_access_key=given.get("secret_access_key"),
            aws_session_token=given.get("session_token"),
            config=Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2}),
        )
    except (BotoCoreError, ValueError) as error:
        raise AlertError(
            f"SNS cannot be reached: {error}. Set AWS_REGION.", retryable=True, wait=_MENDED_AFTER
        ) from None
