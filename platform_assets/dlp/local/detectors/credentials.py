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
    Detector("AUTH_TOKEN", _HIGH, version="3"),
    Detector("JSON_WEB_TOKEN", _HIGH),
    Detector(
        "PASSWORD",
        _HIGH,
        "password, passwd, pwd, passphrase, passcode, pass, mot de passe, passwort, contraseña, senha",
        version="3",
    ),
    Detector("ENCRYPTION_KEY", _HIGH),
    Detector("HTTP_COOKIE", _HIGH, contains=True, version="2"),
)

NAMES_OF_PASSWORDS = (
    r"password|passwd|passphrase|passcode|pwd|passw(?:ort|rd)?|kennwort|mot[ _]de[ _]passe|"
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
    r"priv[_\-]?key|(?:\b|_)creds?\b|pepper|(?:\b|_|totp_)seed\b|auth[_\-]?code|(?:\b|:)_auth\b|sas[_\-]?sig|sonar\.login"
)
"""Names of other secrets, as an RE2 alternation over lower-case bytes."""

IS = "is|was|are|to|(?:has|have) been (?:re)?(?:set|changed) to|ist|lautet|war|est|es|è|é|är|er|til"
"""Words between the name of a secret and the secret, in sentences of several languages."""

PASSWORD_OPTIONS = (
    (
        "mysql(?:dump|admin|import|show|check|pump|sh)?|mariadb(?:-dump|-admin)?|percona-toolkit|innobackupex",
        "-p",
    ),
    ("mongo(?:sh|dump|restore|import|export|top|stat)?", "-p[ ]?"),
    ("sshpass|zip|unzip|7z|7za|rar|unrar|qpdf", "-(?:hp|[pP])[ ]?|--(?:password=|encrypt[ ])"),
    (
        "(?:docker|podman|buildah|skopeo|nerdctl|crane|oras|helm registry|helm repo|az|az acr|oc|cf|"
        "ibmcloud|bx|"
        "argocd|rancher|heroku|beeline|cqlsh|"
        "nodetool|jenkins-cli|rdesktop|psexec|psexec64|winexe|twine|neo4j-admin|cypher-shell|arangosh|couchbase-cli|"
        "cbbackup|databricks|tabcmd|usql|putty|psftp|pscp|plink|ncftpput|ncftpget|asadmin|wlst|nzsql|"
        "elasticsearch-users|rabbitmqadmin|crackmapexec|nxc|evil-winrm|hydra|medusa|racadm|altool|xcrun|usermod|useradd)",
        "-(?:p|pw)[ =]",
    ),
    ("redis-cli|valkey-cli|keydb-cli|redis-benchmark", "-a[ ]?|--pass[ =]"),
    (
        "sqlcmd|bcp|osql|tsql|isql|ipmitool|mosquitto_(?:pub|sub)|db2cli|fexp|bteq|virsh|kcadm.sh|jboss-cli.sh",
        "-P[ ]?",
    ),
    (
        "ldap(?:search|add|modify|delete|passwd|whoami|compare|modrdn)|ds(?:config|conf|ctl|idm)|vsql",
        "-w[ ]?",
    ),
    ("kadmin(?:\\.local)?", "-(?:w|pw)[ ]"),
    (
        "smbclient|smbget|rpcclient|winexe|net|wmic",
        "-U[ ]?[^%\\s]{1,60}%|/(?:user|password):[^%\\s]{0,60}%",
    ),
    ("xfreerdp|wfreerdp|mstsc|schtasks|cmdkey|vncviewer|signtool", "/(?:p|pass|rp)[: ]"),
    ("openssl", "-(?:pass|passin|passout)[ ]pass:|-(?:k|password)[ ]"),
    (
        "keytool|jarsigner|apksigner",
        "-(?:store|key|srcstore|deststore|srckey|destkey|new)pass(?:word)?[ ](?:pass:)?|"
        "--(?:ks|key)-pass[ ]pass:",
    ),
    ("snmp(?:walk|get|set|bulkwalk|table|trap)", "-[AX][ ]"),
    (
        "influx|cassandra-cli|hana|hdbsql|impala-shell|osslsigncode|pfx2pem|gpg|gpg2|x11vnc",
        "-{1,2}(?:password|passwd|pass|passphrase|p)[ ]",
    ),
    ("rabbitmqctl", "(?:add_user|change_password|authenticate_user)[ ][^\\s]{1,60}[ ]"),
    ("lftp|ncftp", "-u[ ][^,\\s]{1,60},"),
    ("az keyvault secret set", "--value[ =]"),
    ("aws secretsmanager (?:create-secret|put-secret-value|update-secret)", "--secret-string[ =]"),
    (
        "aws ssm put-parameter",
        "--(?:type[ =]SecureString|name[ =][^\\s]{0,80}(?i:password|passwd|pwd|secret|token)[^\\s]{0,20})[ ]"
        "(?:[^\\n]{0,120}[ ])?--value[ =]",
    ),
    ("aws configure set", "(?:aws_secret_access_key|aws_session_token)[ ]"),
    ("pulumi config set", "--secret[ ][^\\s]{1,60}[ ]"),
    ("vault login|vault unseal|vault operator unseal|bw unlock", "(?:token=)?"),
    ("etcdctl|influx|aria2c", "(?:-u|--user|--userid)[ =][^\\s:]{1,60}:"),
    ("mysqlsh", "[\\w.]{1,60}:"),
    ("kinit|gh auth login", "<<<[ ]?"),
    ("bw login", "[^\\s@]{1,60}@[^\\s]{1,60}[ ]"),
    ("net user", "[^\\s/][^\\s]{0,60}[ ](?=[^/])"),
    ("net use", "/user:[^\\s]{1,60}[ ]|\\\\\\\\[^\\s]{1,80}[ ](?=[^/])"),
    ("(?:htpasswd|mosquitto_passwd) -[a-zA-Z]*b[a-zA-Z]*", "[^\\s]{1,80}[ ][^\\s]{1,60}[ ]"),
    ("isql", "[\\w.]{1,60}[ ][\\w.]{1,60}[ ]"),
    ("(?:sqlplus|expdp|impdp|sqlldr|rman)", "(?:userid=|target[ ])?\\w{2,30}/"),
    ("(?:exp|imp)", "userid=\\w{2,30}/"),
    ("db2 connect to", "using[ ]"),
    ("(?:npm|pnpm|yarn) config set", "[^\\s]{0,80}_(?:auth|authToken|password)[ =]"),
    (
        "(?:poetry|composer) config",
        "http-basic\\.[^\\s]{1,60}[ ][^\\s]{1,60}[ ]|pypi-token\\.[^\\s]{1,60}[ ]",
    ),
    ("(?:dotnet )?nuget (?:push|setapikey)", "(?:-k|--api-key|-ApiKey)[ ]"),
    ("ssh-keygen", "-[NP][ ]?"),
    ("rclone config (?:create|update)|fetchmail|nmcli", "(?:pass|password|(?:[a-z\\-]{1,20}\\.)?psk)[ ]"),
    ("sendEmail|swaks", "-(?:xp|ap)[ ]"),
    ("wpa_passphrase", "[^\\s]{1,60}[ ]"),
    ("iwconfig", "key[ ](?:s:)?"),
    ("netlify|ntl", "--auth[ =]"),
    ("https?|xh", "(?:-a|--auth)[ ][^\\s:]{1,60}:"),
    ("doctl", "-t[ ]|--access-token[ =]"),
    ("jenkins-cli(?:\\.jar)?", "-auth[ ][^\\s:]{1,60}:"),
    ("add-user\\.sh", "(?:-u[ ])?[\\w.]{1,60}[ ](?:-p[ ])?"),
    ("samba-tool user (?:create|add)", "[^\\s\\-][^\\s]{0,60}[ ]"),
    (
        "(?:impacket-)?(?:psexec|smbexec|wmiexec|secretsdump|atexec|dcomexec)(?:\\.py)?",
        "(?:[\\w.\\-]{1,60}/)?[\\w.\\-]{1,60}:",
    ),
    ("ccrypt", "-K[ ]?"),
    ("mcrypt", "-k[ ]?"),
    ("pdf(?:totext|info|images|topdf|tocairo|toppm|tohtml|fonts)", "-[uo]pw[ ]"),
    ("pdftk", "(?:input|user|owner)_pw[ ]"),
    ("mc (?:alias set|config host add)", "[^\\s]{1,60}[ ]https?://[^\\s]{1,80}[ ][^\\s]{1,60}[ ]"),
    (
        "security (?:unlock-keychain|create-keychain|set-keychain-password|import)|certutil",
        "-[pP][ ]",
    ),
    ("ConvertTo-SecureString", "(?:-String[ ])?"),
)
"""Tools and their options that take a password: patterns of their names, and of what precedes it."""

CUT_AT = {"mysqlsh": "@", "sqlplus": "@", "expdp": "@", "impdp": "@", "sqlldr": "@", "rman": "@"}
"""Tools whose password ends before this character, where the address of the server follows."""

PIPED = r"(?:sudo[ ](?:-[a-zA-Z]+[ ])*-[a-zA-Z]*S|[^|\n]{0,120}--(?:password-)?stdin|(?:sudo[ ])?chpasswd)\b"
"""Commands that read a password from what is piped to them."""

CALLS = (
    (r"(?:set|with)_?[A-Za-z]{0,12}(?:[Pp]assword|[Pp]asswd|[Pp]assphrase|Pwd)|[Pp]assword|PASSWORD", 0),
    (
        r"login|authenticate|setBasicAuth|basicAuth|basic_auth|HTTPBasicAuth|HTTPDigestAuth|HTTPProxyAuth|BasicAuth|"
        r"NetworkCredential|UsernamePasswordCredentials?|PasswordAuthentication|"
        r"UsernamePasswordAuthenticationToken|BasicAWSCredentials|PlainCredentials|"
        r"(?:http_|basic_|proxy_)?auth[ ]?=[ ]?|(?:cx_Oracle|oracledb)\.connect",
        1,
    ),
    (
        r"getConnection|mysqli?|mysqli?_p?connect|PDO|(?:pymysql|MySQLdb|pymssql)\.connect|DBI->connect(?:_cached)?|"
        r"odbc_p?connect|ldap_bind|ftp_login|ssh2_auth_password|imap_open",
        2,
    ),
)
"""Functions and constructors of drivers and clients, and the place of the password among their arguments."""

DIRECTIVES = (
    "requirepass|masterauth|sentinel auth-pass [^ ]+|bindpw|ldap_bind_password|rootpw|rootbindpw|olcRootPW|"
    "ipsec_psk|smtpd_password|proxy-password|http-proxy-password|"
    "enable (?:password|secret)(?: [0-9])?|"
    "username [^ ]+ (?:privilege [0-9]+ )?(?:password|secret)(?: [0-9])?|"
    "ppp chap password(?: [07])?|key-string|neighbor [^ ]+ password(?: [07])?|"
    "snmp-server community|(?:tacacs|radius)-server key(?: [07])?|"
    "set (?:passwd|psksecret|password)|auth_pass|DBDPassword|SSLPassPhrase|AuthLDAPBindPassword|"
    "storePassword|keyPassword|authentication-key [0-9]+ md5"
)
"""Directives of servers and devices that a password follows after a blank."""

LOGINS = (
    r"(?:NEO4J_AUTH|BASIC_AUTH|HTTP_AUTH|HTTP_BASIC_AUTH|ELASTIC_AUTH|basic\.auth\.user\.info|CURLOPT_USERPWD|userpwd)"
    r"[\"']?[ \t]{0,4}[=:,][ \t]{0,4}[\"']?[\w.\-@]{1,60}[:/]|stats auth[ ][\w.\-@]{1,60}:|"
    r"(?:543[0-9]|6432|6543|26257):[^\s:/]{1,60}:[^\s:]{1,60}:|"
    r"cache_peer[ ][^\n]{1,120}login=[\w.\-@]{1,60}:|"
    r"sp_addlogin[ ]+N?'[^'\n]{1,60}'[ ]?,[ ]?N?'|(?:PSK|EAP|XAUTH|NTLM)[ \t]{1,8}\""
)
"""Settings whose value is a user with a password: up to the password."""

PLACEHOLDER = (
    r"^(?:x{3,}|\*{3,}|\.{3,}|-{3,}|_{3,}|0+|1234567890?|<.*>|\[.*\]|\{.*\}|\$\{.*|\$[a-z_][a-z0-9_]*|"
    r"%[a-z_]+%|%\([a-z_]+\)s?|@[a-z_.\-]+@|#\{.*|null|nil|none|undefined|true|false|yes|no|empty|string|"
    r"str|int|"
    r"bool|bytes|char|varchar|text|object|optional|required|secret|password|passphrase|passwd|pwd|pass|token|key|value|"
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
    r"h1:.*|AWS4-HMAC-SHA256|https?://.*|[a-z]+(?:[._/\-][a-z]+)+|[a-z]+[0-9]{0,2}[a-z]*(?:[:#][a-z]+)+|[a-z]+|[A-Z_]+|[0-9.,:/\-]+|/[a-z0-9._/\-]+|\.{1,2}/.*|"
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
