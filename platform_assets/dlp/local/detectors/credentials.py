"""Secrets: the names of secrets, the form of secrets without a prefix, and values that are not secrets."""

from __future__ import annotations

from platform_assets.dlp.local.detectors.declaration import Detector
from platform_assets.dlp.local.detectors.service_keys import SERVICE_KEYS
from platform_assets.dlp.model import Sensitivity

_HIGH = Sensitivity.HIGH

CREDENTIALS: tuple[Detector, ...] = (
    *(Detector(name, _HIGH) for name in dict.fromkeys(key.name for key in SERVICE_KEYS)),
    Detector("AUTH_TOKEN", _HIGH),
    Detector("JSON_WEB_TOKEN", _HIGH),
    Detector(
        "PASSWORD",
        _HIGH,
        "password, passwd, pwd, passphrase, passcode, pass, mot de passe, passwort, contraseña, senha",
    ),
    Detector("ENCRYPTION_KEY", _HIGH),
    Detector("HTTP_COOKIE", _HIGH, contains=True),
)

NAMES_OF_PASSWORDS = (
    r"password|passwd|passphrase|passcode|pwd|passw|passwort|kennwort|mot[ _]de[ _]passe|"
    r"contrase(?:n|\xc3\xb1)a|senha|wachtwoord|lösenord|passord|adgangskode|salasana|heslo|hasło|parola|şifre|"
    r"jelszó|пароль|Пароль|密码|密碼|口令|パスワード|비밀번호|패스워드|(?:\b|_)pw\b"
)
"""Names of passwords, as an RE2 alternation over lower-case bytes."""

NAMES_OF_SECRETS = (
    r"secret|token|api[ _\-]?key|apikey|access[ _\-]?key|auth[ _\-]?key|private[ _\-]?key|account[ _\-]?key|"
    r"signing[ _\-]?key|encryption[ _\-]?key|master[ _\-]?key|license[ _\-]?key|shared[ _\-]?key|"
    r"credentials?|"
    r"service[ _\-]?key|app[ _\-]?key|client[ _\-]?key|consumer[ _\-]?key|webhook[ _\-]?key|hmac[ _\-]?key|"
    r"subscription[ _\-]?key|authorization|x-api-key|salt"
)
"""Names of other secrets, as an RE2 alternation over lower-case bytes."""

PLACEHOLDER = (
    r"^(?:x{3,}|\*{3,}|\.{3,}|-{3,}|_{3,}|0+|1234567890?|<.*>|\[.*\]|\{.*\}|\$\{.*|\$[a-z_][a-z0-9_]*|"
    r"%[a-z_]+%|%\([a-z_]+\)s?|@[a-z_.\-]+@|#\{.*|null|nil|none|undefined|true|false|yes|no|empty|string|"
    r"str|int|"
    r"bool|bytes|char|varchar|text|object|optional|required|secret|password|passwd|pwd|pass|token|key|value|"
    r"default|redacted|masked|hidden|filtered|omitted|removed|unset|unknown|n/?a|tbd|todo|fixme|foo|bar|"
    r"baz|foobar|"
    r"test|testing|dummy|sample|example|placeholder|change[_\-]?me.*|replace[_\-]?me.*|insert[_\-].*|"
    r"enter[_\-].*|"
    r"put[_\-].*|add[_\-]your.*|"
    r"(?:my|your|the|some|any|a|an|new|old|user|admin|db|database|client|api|access|auth|app)(?:[_\-]?"
    r"(?:secret|password|passwd|pwd|token|key|api|access|client|auth|user|name|id|here|value|app|service|"
    r"account))+|"
    r"[a-z]+(?:[_\-. ][a-z]+)*[_\-. ](?:password|passwd|secret|token)(?:[_\-. ][a-z]+)*|"
    r"(?:password|passwd|secret|token)(?:[_\-. ][a-z]+)+|.*\{[a-z_][a-z0-9_.]*\}.*|"
    r"your.*|.*example.*|.*placeholder.*|.*_here|.*-here|.*redacted.*|.*(?:\*{4,}|x{6,}|\.{3}).*|secret://.*|"
    r"vault:.*|ref:.*|arn:aws:.*|projects/.*|file:.*)$"
)
"""Values in a secret's place that are not secrets: placeholders, and references to the secret."""

CODE = (
    r"^(?:.*\(.*|.*::.*|->.*|&.*|=.*|!.*|\|.*|\\.*|\$.*|%.*|"
    r"(?:os|process|self|this|config|settings|env|options|args|params|request|req|ctx|props|data|state)\..*)$"
)
"""Unquoted values in the place of a secret that are program code."""

NO_KEY = (
    r"^(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|sha(?:1|256|384|512)[:\-].*|"
    r"md5[:\-].*|"
    r"h1:.*|AWS4-HMAC-SHA256|https?://.*|[a-z]+(?:[._/\-][a-z]+)+|[a-z]+|[A-Z_]+|[0-9.,:/\-]+|/[a-z0-9._/\-]+|\.{1,2}/.*|"
    r"[A-Za-z][a-zA-Z]*(?:\.[a-zA-Z_]+)+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[a-z_]+[0-9]{0,3}|"
    r"(?:[A-Z]?[a-z]{2,})+[0-9]{0,2}|(?:[A-Z]{0,6}[a-z]{3,})+[A-Z]{0,6}[0-9]{0,2}|[a-z]+(?:-[a-z]+)*-[0-9]+(?:\.[0-9]+)+)$"
)
"""Values that are not tokens or keys, by their form: UUIDs, digests, addresses, names, numbers."""

HARMLESS_KEYS = (
    "public, pub, primary, foreign, sort, partition, cache, row, bucket, object, s3, idempotency, dedupe, "
    "hash, index, idx, unique, routing, registry, host, lookup, message, event, group, join, session, file, "
    "image, issuer, natural, surrogate, range, shard, i18n, translation, locale, node, map, dict, cluster, "
    "series, dimension, tag, hot, down, up, press, composite, business, record, entity, merge, lock, topic, "
    "window"
)
"""Words before "key" in the names of keys that are not secret."""

DIGEST_NAMES = (
    "sha, sha1, sha256, sha384, sha512, md5, hash, digest, integrity, checksum, commit, revision, rev, etag, "
    "fingerprint, resolved, blob, tree, uuid, guid, nonce, csrf, crc, checksums, hashes"
)
"""Names of random values that are not secret."""
