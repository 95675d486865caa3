"""Secrets: the names of secrets, the form of secrets without a prefix, and values that are not secrets."""

from __future__ import annotations

from platform_assets.dlp.local.detectors.declaration import Detector
from platform_assets.dlp.local.detectors.service_keys import SERVICE_KEYS
from platform_assets.dlp.local.detectors.service_names import NAMED_KEYS
from platform_assets.dlp.model import Sensitivity

_HIGH = Sensitivity.HIGH

_SERVICES = dict.fromkeys((*(key.name for key in SERVICE_KEYS), *(key.name for key in NAMED_KEYS)))

CREDENTIALS: tuple[Detector, ...] = (
    *(Detector(name, _HIGH) for name in _SERVICES),
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
    r"jelszó|пароль|Пароль|密码|密碼|口令|パスワード|비밀번호|패스워드|(?:\b|_)pw\b|"
    r"(?:\b|_)pass[0-9]?\b|"
    r"(?:db|usr|user|smtp|imap|pop|mail|email|ftp|sftp|root|admin|sql|mysql|pg|postgres|redis|mongo|rabbit|mq|"
    r"amqp|mqtt|proxy|http|ssh|login|auth|basic|ldap|bind|jdbc|key|store|cert|trust|keystore|truststore|wifi|"
    r"require|sudo|become|vpn|snmp|svc|service|account|master|app|web|host|server|client|api|vault|zip)pass[0-9]?\b|"
    r"(?:db|user|root|admin|bind|ldap|sql|ftp|mail|smtp|host|sudo)pw\b|pswd|passwrd|\bpword\b|(?:\b|_)psw\b|"
    r"(?:\b|_)mdp\b|motdepasse|(?:rediscli|redis|master)_?auth\b|pre[_\-]?shared[_\-]?key|(?:\b|_)psk\b"
)
"""Names of passwords, as an RE2 alternation over lower-case bytes."""

NAMES_OF_SECRETS = (
    r"secret[ _\-]?access[ _\-]?key|secret[ _\-]?(?:key|token|value|string|word)|secret|"
    r"token[ _\-]?(?:value|string)|"
    r"token|api[ _\-]?key|apikey|access[ _\-]?key|auth[ _\-]?key|private[ _\-]?key|account[ _\-]?key|"
    r"signing[ _\-]?key|encryption[ _\-]?key|master[ _\-]?key|license[ _\-]?key|shared[ _\-]?key|"
    r"credentials?|"
    r"service[ _\-]?key|app[ _\-]?key|client[ _\-]?key|consumer[ _\-]?key|webhook[ _\-]?key|hmac[ _\-]?key|"
    r"subscription[ _\-]?key|authorization|x-api-key|salt|"
    r"(?:storage|crypt|crypto|cipher|aes|des|deploy|admin|security|instrumentation|integration|write|server|ssh|"
    r"ingest|ingestion|merchant|application|decryption|validation|machine|functions?|personal|bot|push|maps|gateway|"
    r"root|user|database|backup|vault|seal|unseal|recovery)[ _\-]?key|"
    r"priv[_\-]?key|(?:\b|_)creds?\b|pepper|(?:\b|_|totp_)seed\b|auth[_\-]?code|(?:\b|:)_auth\b|sas[_\-]?sig"
)
"""Names of other secrets, as an RE2 alternation over lower-case bytes."""

PASSWORD_OPTIONS = (
    (
        "mysql(?:dump|admin|import|show|check|pump|sh)?|mariadb(?:-dump|-admin)?|percona-toolkit|innobackupex",
        "-p",
    ),
    ("sshpass|htpasswd -[a-z]*b[a-z]* \\S+ \\S+|zip|unzip|7z|7za|rar|unrar|qpdf", "-[pP][ ]?|--password="),
    (
        "(?:docker|podman|buildah|skopeo|nerdctl|crane|oras|helm registry|helm repo|az|az acr|oc|cf|"
        "ibmcloud|bx|"
        "argocd|rancher|heroku|mongo|mongosh|mongodump|mongorestore|mongoimport|mongoexport|beeline|cqlsh|"
        "nodetool|jenkins-cli|rdesktop|psexec|psexec64|winexe|twine|neo4j-admin|cypher-shell|arangosh|couchbase-cli|"
        "cbbackup|databricks|tabcmd|isql|tsql|usql|psftp|pscp|plink|ncftpput|ncftpget|asadmin|wlst|vsql|nzsql)",
        "-(?:p|pw)[ =]",
    ),
    ("redis-cli|valkey-cli|keydb-cli|redis-benchmark", "-a[ ]?|--pass[ =]"),
    ("sqlcmd|bcp|osql|ipmitool|mosquitto_(?:pub|sub)|db2cli|fexp|bteq|virsh|kcadm.sh|jboss-cli.sh", "-P[ ]?"),
    ("ldap(?:search|add|modify|delete|passwd|whoami|compare|modrdn)", "-w[ ]?"),
    ("smbclient|smbget|rpcclient|net|wmic", "-U[ ]?[^%\\s]{1,60}%|/(?:user|password):[^%\\s]{0,60}%"),
    ("xfreerdp|wfreerdp|mstsc|schtasks|cmdkey|vncviewer", "/(?:p|pass|rp)[: ]"),
    ("openssl", "-(?:pass|passin|passout)[ ]pass:|-(?:k|password)[ ]"),
    (
        "keytool|jarsigner|apksigner",
        "-(?:store|key|srcstore|deststore|srckey|destkey|new)pass(?:word)?[ ](?:pass:)?",
    ),
    ("snmp(?:walk|get|set|bulkwalk|table|trap)", "-[AX][ ]"),
    (
        "influx|cassandra-cli|hana|hdbsql|impala-shell|signtool|osslsigncode|gpg|gpg2",
        "-{1,2}(?:password|pass|passphrase|p)[ ]",
    ),
    ("rabbitmqctl", "(?:add_user|change_password|authenticate_user)[ ][^\\s]{1,60}[ ]"),
    ("lftp|ncftp", "-u[ ][^,\\s]{1,60},"),
    ("az keyvault secret set", "--value[ =]"),
    ("pulumi config set", "--secret[ ][^\\s]{1,60}[ ]"),
    ("vault login|vault unseal|vault operator unseal", "(?:token=)?"),
    ("net user", "[^\\s]{1,60}[ ](?=[^/])"),
)
"""Tools and their options that take a password: patterns of their names, "
"and of an option with its separator."""

DIRECTIVES = (
    "requirepass|masterauth|sentinel auth-pass [^ ]+|bindpw|rootpw|rootbindpw|olcRootPW|wpa_passphrase|"
    "ipsec_psk|smtpd_password|proxy-password|http-proxy-password|stats auth [^: ]+:|"
    "enable password(?: [07])?|"
    "username [^ ]+ password(?: [07])?|ppp chap password(?: [07])?|key-string|authentication-key [0-9]+ md5"
)
"""Directives of servers and devices that a password follows after a blank."""

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

WORDS_BEFORE_PASSES = (
    "boarding, bus, ski, season, day, travel, first, second, last, next, prev, render, shadow, depth, light, "
    "forward, backward, multi, single, two, one, low, high, band, by, test, tests, max, min, num, "
    "total, did, "
    "freshness, should, must, does, can, mountain, over, under, all, any, fail, optimizer, compiler, opt, "
    "function, module, loop"
)
"""Words before "pass" in the names of passes that are not passwords."""

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
