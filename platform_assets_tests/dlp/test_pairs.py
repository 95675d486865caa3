"""Secrets whose name stands in another field, above them, or in the syntax of a tool."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, Likelihood
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp import generated as make

SECRETS = {"PASSWORD", "AUTH_TOKEN"}
VALUE = "Hj7kQ2mZx9"
LETTERS = "svcacctpass"
TOKEN = "fR7kQ2mZx9aB3cD8eF5gH1jK4mN6pQ0r"


@pytest.fixture(scope="module")
def inspector() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def secrets_in(inspector: LocalInspector, name: str, content: str) -> list[str | None]:
    """The secrets of a file, as its reader gives them to the inspector."""
    result = scan_object(io.BytesIO(content.encode()), name, inspector)
    return [one.quote for one in result.findings if one.info_type.name in SECRETS]


def of_json(value: Callable[[str, str], object]) -> tuple[str, Callable[[str, str], str]]:
    return "a.json", lambda name, secret: json.dumps(value(name, secret))


def of(file: str, template: str) -> tuple[str, Callable[[str, str], str]]:
    return file, lambda name, secret: template.replace("NAME", name).replace("VALUE", secret)


PAIRS: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "JSON, one": of_json(lambda name, secret: [{"name": name, "value": secret}]),
    "JSON among others": of_json(
        lambda name, secret: {
            "env": [
                {"name": "HOST", "value": "db1.local"},
                {"name": name, "value": secret},
                {"name": "PORT", "value": "5432"},
            ]
        }
    ),
    "JSON, key and value": of_json(lambda name, secret: {"tags": [{"Value": secret, "Key": name}]}),
    "JSON, parameter": of_json(lambda name, secret: [{"ParameterKey": name, "ParameterValue": secret}]),
    "JSON between": of_json(
        lambda name, secret: {"name": name, "type": "String", "tier": "Standard", "value": secret}
    ),
    "JSON, nested": of_json(lambda name, secret: {"db": {name: {"type": "string", "value": secret}}}),
    "JSON in a text": of("a.txt", 'sent: {"name": "NAME", "value": "VALUE"} to it\n'),
    "JSON in a text, reversed": of("a.txt", 'sent: {"value": "VALUE", "name": "NAME"} to it\n'),
    "YAML": of("a.yaml", "env:\n  - name: HOST\n    value: db1\n  - name: NAME\n    value: VALUE\n"),
    "YAML, quoted": of("a.yaml", 'env:\n- name: "NAME"\n  value: "VALUE"\n- name: PORT\n  value: "1"\n'),
    "YAML, reversed": of(
        "a.yaml", "env:\n  - value: VALUE\n    name: NAME\n  - name: HOST\n    value: db1\n"
    ),
    "YAML, inline": of("a.yaml", "env: [{name: NAME, value: VALUE}]\n"),
    "YAML, comment between": of("a.yaml", "- name: NAME  # of the service\n  value: VALUE\n"),
    "YAML, nested": of("a.yaml", "NAME:\n  description: of the service\n  value: VALUE\nport: 1\n"),
    "YAML, folded": of("a.yaml", "NAME: >-\n  VALUE\nport: 1\n"),
    "XML, attributes": of("a.xml", '<c><add key="A" value="b"/><add key="NAME" value="VALUE"/></c>'),
    "XML, attributes reversed": of("a.xml", '<c><add value="VALUE" key="NAME"/></c>'),
    "XML, elements": of(
        "a.xml", "<c><p><name>NAME</name><value>VALUE</value></p><p><name>u</name><value>zz</value></p></c>"
    ),
    "XML, text of a named element": of(
        "a.xml", '<c><property name="NAME">VALUE</property><property name="u">zz</property></c>'
    ),
    "XML, element in a named element": of(
        "a.xml", '<c><setting name="NAME"><value>VALUE</value></setting></c>'
    ),
    "XML, property list": of(
        "a.xml",
        "<plist><dict><key>u</key><string>bob</string><key>NAME</key><string>VALUE</string></dict></plist>",
    ),
    "XML in a text": of("a.txt", 'put <add key="NAME" value="VALUE"/> there\n'),
    "XML elements in a text": of("a.txt", "put <name>NAME</name>\n  <value>VALUE</value> there\n"),
    "TOML": of("a.toml", '[[env]]\nname = "NAME"\nvalue = "VALUE"\n'),
    "TOML, inline": of("a.toml", 'env = [{ name = "A", value = "b" }, { name = "NAME", value = "VALUE" }]\n'),
    "HCL, list": of(
        "a.tf", 'environment = [\n  { name = "A", value = "b" },\n  { name = "NAME", value = "VALUE" },\n]\n'
    ),
    "HCL, block": of("a.tf", 'env {\n  name  = "NAME"\n  value = "VALUE"\n}\n'),
    "HCL, variable": of("a.tf", 'variable "NAME" {\n  type    = string\n  default = "VALUE"\n}\n'),
    "HOCON, blocks": of("a.conf", 'env {\n  NAME {\n    value = "VALUE"\n  }\n}\n'),
    "HOCON, inline": of("a.conf", 'env { PORT { value = "1" }, NAME { value = "VALUE" } }\n'),
    "INI": of("a.ini", "[NAME]\nvalue = VALUE\n"),
    "properties": of("a.properties", "app.url=x\napp.NAME=VALUE\n"),
    "env": of("a.env", "HOST=db1\nexport NAME=VALUE\n"),
    "JSON, lists of two": of_json(lambda name, secret: [["host", "db1"], [name, secret], ["port", "1"]]),
    "YAML, lists of two": of("a.yaml", "env:\n  - [host, db1]\n  - [NAME, VALUE]\n"),
    "CSV": of("a.csv", "name,value\nHOST,db1.local\nNAME,VALUE\n"),
}
PASSWORD_NAMES = (
    *("DB_PASSWORD", "SmtpPassword", "db_pass", "REDIS_PASS", "MYSQL_PWD", "ldapBindPw", "userPassword"),
    *("keystorePass", "wifi_psk", "REDISCLI_AUTH", "sudo_passwd", "vault-passphrase"),
)
TOKEN_NAMES = (
    *(
        "API_TOKEN",
        "clientSecret",
        "secretkey",
        "STRIPE_API_KEY",
        "storageKey",
        "webhook_secret",
        "deploy-key",
    ),
    *("AccessKey", "encryption_key", "GITHUB_TOKEN", "secretToken", "serverKey"),
)


def a_pair(chance: random.Random) -> tuple[str, str]:
    """A name and its secret."""
    if chance.random() < 0.5:
        secret = chance.choice(
            (make.text(chance, 10) + "7", make.text(chance, 6) + "!4" + make.text(chance, 2))
        )
        return chance.choice(PASSWORD_NAMES), secret
    return chance.choice(TOKEN_NAMES), make.text(chance, chance.choice((24, 32, 40)))


def test_a_recall_of_95_percent_in_pairs_of_every_structured_format(inspector: LocalInspector) -> None:
    chance = random.Random(17)
    missed, made = [], 0
    for kind, (file, content) in PAIRS.items():
        for _ in range(12):
            name, secret = a_pair(chance)
            made += 1
            if secret not in secrets_in(inspector, file, content(name, secret)):
                missed.append((kind, name, secret))
    assert len(missed) / made <= 0.05, (len(missed), made, missed[:40])


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    "value",
    [
        *(
            "true",
            "none",
            "example",
            "${DB_PASSWORD}",
            "/run/secrets/db_password",
            "$(DB_PASSWORD)",
            "changeme",
        ),
        *("secret://env/DB", "https://vault.local/v1/db", "config/keys/app.pem"),
    ],
)
def test_a_neighbour_that_is_a_placeholder_a_reference_or_a_path_is_no_secret(
    kind: str, value: str, inspector: LocalInspector
) -> None:
    file, content = PAIRS[kind]
    assert secrets_in(inspector, file, content("SECRET_KEY", value)) == []
    if not value.startswith("$("):
        assert secrets_in(inspector, file, content("DB_PASSWORD", value)) == []


@pytest.mark.parametrize("kind", PAIRS)
def test_a_neighbour_whose_name_is_no_secret_s_is_none(kind: str, inspector: LocalInspector) -> None:
    file, content = PAIRS[kind]
    for name in ("DB_HOST", "password_policy", "token_url", "PASSWORD_FILE", "compass"):
        assert secrets_in(inspector, file, content(name, VALUE)) == [], name


def test_a_value_belongs_to_the_name_of_its_own_record(inspector: LocalInspector) -> None:
    yaml = f"- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: db\n- name: BUILD\n  value: {VALUE}\n"
    assert secrets_in(inspector, "a.yaml", yaml) == []
    record = json.dumps([{"name": "DB_PASSWORD", "value": ""}, {"name": "BUILD", "value": VALUE}])
    assert secrets_in(inspector, "a.json", record) == []
    assert (
        secrets_in(inspector, "a.txt", f'{{"name": "DB_PASSWORD"}} {{"name": "B", "value": "{VALUE}"}}') == []
    )


LISTS = {
    "a.yaml": (
        "passwords:\n  - VALUE\n  - none\nport:\n  - Xk3s8dk2\n",
        "passwords:\n- 'VALUE'\n",
        "passwords: [VALUE, none]\n",
        "passwords:\n  admin: VALUE\nport: 1\n",
        "tokens:\n  ci: TOKEN\n",
        "auth:\n  api_keys:\n    - TOKEN\n",
    ),
    "a.json": (
        '{"passwords": ["VALUE", "none"]}',
        '{"passwords": {"admin": "VALUE"}}',
        '{"app": {"tokens": {"ci": "TOKEN"}, "port": 1}}',
        '{"secrets": ["TOKEN"]}',
    ),
    "a.xml": (
        "<c><passwords><item>VALUE</item></passwords></c>",
        '<c><tokens><ci key="TOKEN"/></tokens></c>',
    ),
    "a.toml": (
        'passwords = ["VALUE", "none"]\n',
        '[passwords]\nadmin = "VALUE"\n',
        '[tokens]\nci = "TOKEN"\n',
    ),
    "a.ini": ("[passwords]\n; of all\nadmin = VALUE\n\n[other]\nname = x\n", "[app.tokens]\nci = TOKEN\n"),
    "a.tf": ('passwords = [\n  "VALUE",\n]\n', 'tokens = {\n  ci = "TOKEN"\n}\n'),
}


@pytest.mark.parametrize(("file", "content"), [(file, one) for file, many in LISTS.items() for one in many])
def test_what_is_below_the_name_of_secrets_is_one(file: str, content: str, inspector: LocalInspector) -> None:
    secret = TOKEN if "TOKEN" in content else VALUE
    assert secrets_in(inspector, file, content.replace("VALUE", VALUE).replace("TOKEN", TOKEN)) == [secret]
    for harmless in ("none", "${ADMIN}", "/run/secrets/admin", "example"):
        assert (
            secrets_in(inspector, file, content.replace("VALUE", harmless).replace("TOKEN", harmless)) == []
        )


@pytest.mark.parametrize(
    "content",
    [
        "password:\n  type: string\n  format: password\n  description: At least 8 characters\n",
        "passwords:\n  policy: rotate90days\n  min_length: 12345\n",
        "secrets:\n  db:\n    file: ./db1.txt\n",
        "steps:\n  - key: password\nother:\n  value: Hj7kQ2mZx9\n",
        'tokens = ["if", "else", "while"]\n',
        "passwords = [first, second]\n",
        "PASS: tests/test_foo1.py\nPASS tests/test_bar2.py\nFAIL: 1\n",
        "message Password {\n  string value = 1;\n}\n",
        ".password {\n  content: 'At least 8 characters';\n}\n",
        "class Secret {\n  value = read('vault1')\n}\n",
        "a boarding pass = AB12345\n",
        "compass = 'N12345'\nbypass=Hj7kQ2mZx9\n",
    ],
)
def test_lists_sections_and_words_that_hold_no_secret(content: str, inspector: LocalInspector) -> None:
    assert secrets_in(inspector, "a.txt", content) == []


NAMED = (
    *("DB_PASS=VALUE", "PASS = 'VALUE'", "secretkey=TOKEN", "ENV DRONE_TOKEN TOKEN", "ENV DB_PASS VALUE"),
    *("ARG NPM_TOKEN TOKEN", "SMTP_PASS: VALUE", "mail_pass='VALUE'", "pass: VALUE", "REDISCLI_AUTH=VALUE"),
    *("secret_key = 'TOKEN'", "storageKey: 'TOKEN'", "machineKey='TOKEN'", "rootpw=VALUE", "storepass=VALUE"),
    *("password: VALUE", "psk='VALUE'", "ssh_pass=VALUE", "userpw = 'VALUE'", "creds = 'TOKEN'"),
    *("Server=db;User Id=sa;Password=LETTERS;", "Server=db;Uid=sa;Pwd=LETTERS;Database=x"),
    *('"Data Source=db;User=sa;Password=LETTERS"', "Password=LETTERS;Server=db;"),
    *("jdbc:mysql://db1/shop?user=app&password=LETTERS", "DRIVER={ODBC};SERVER=db;UID=sa;PWD=VALUE"),
    *(
        "Endpoint=sb://x.local/;SharedAccessKeyName=a;SharedAccessKey=TOKEN",
        "host=db user=a password=LETTERS dbname=x",
    ),
    *("mysql -u root -pVALUE shop", "mysqldump --password=VALUE shop", "sshpass -p VALUE ssh db1"),
    *(
        "sshpass -p 'VALUE' scp a db1:",
        "docker login -u bob -p VALUE registry.local",
        "redis-cli -h db1 -a VALUE ping",
    ),
    *(
        "mongosh --host db1 -u bob -p VALUE",
        "sqlcmd -S db1 -U sa -P VALUE",
        "ldapsearch -x -D cn=a -w VALUE -b dc=x",
    ),
    *(
        "smbclient //db1/share -U bob%VALUE",
        "openssl rsa -in k.pem -passin pass:VALUE",
        "xfreerdp /u:bob /p:VALUE /v:db1",
    ),
    *(
        "keytool -list -keystore k.jks -storepass VALUE",
        "rabbitmqctl add_user bob VALUE",
        "mosquitto_pub -u bob -P VALUE",
    ),
    *(
        "ipmitool -H bmc1 -U admin -P VALUE power on",
        "az login -u bob -p VALUE",
        "psexec \\\\db1 -u bob -p VALUE cmd",
    ),
    *("requirepass VALUE", "masterauth VALUE", "bindpw VALUE", "rootpw VALUE", "PGPASSWORD=VALUE psql shop"),
    *("machine db1 login bob password LETTERS", "wpa_passphrase=VALUE", "zip -P VALUE a.zip b"),
    *("mongodump -u bob -pVALUE", "sqlplus bob/VALUE@db1", "impdp system/VALUE", "rman target sys/VALUE"),
    *(
        "az keyvault secret set --name x --value VALUE",
        "net use x: /user:bob VALUE",
        "net user bob VALUE /add",
    ),
    *("ConvertTo-SecureString 'VALUE' -AsPlainText -Force", "echo 'bob:VALUE' | chpasswd"),
    *("echo VALUE | docker login -u bob --password-stdin r", 'ssh db1 "echo VALUE | sudo -S reboot"'),
    *(
        "htpasswd -bc .htpasswd bob VALUE",
        "mosquitto_passwd -b f bob VALUE",
        "db2 connect to x user bob using VALUE",
    ),
    *(
        "npm config set //r.local/:_authToken TOKEN",
        "poetry config http-basic.x bob VALUE",
        "rar a -hpVALUE b",
    ),
    *("ssh-keygen -t rsa -N VALUE -f k", "nmcli con modify x wifi-sec.psk VALUE", "x11vnc -passwd VALUE"),
    *("rabbitmqadmin -u bob -p VALUE list", "samba-tool user create bob VALUE", "pdftotext -upw VALUE a.pdf"),
    *(
        "mc alias set x http://s1 bob TOKEN",
        "aws configure set aws_secret_access_key TOKEN",
        "jenkins-cli -auth bob:TOKEN x",
    ),
    *(
        "security unlock-keychain -p VALUE k",
        "signtool sign /f x /p VALUE a",
        "kadmin -p bob -w VALUE",
        "curl -u bob:VALUE x",
    ),
    *(
        "NEO4J_AUTH=neo4j/VALUE",
        "basic.auth.user.info=bob:VALUE",
        "stats auth bob:VALUE",
        "db1:5432:shop:bob:VALUE",
    ),
    *("enable secret VALUE", "username bob privilege 15 secret VALUE", "snmp-server community VALUE RO"),
    *(
        "tacacs-server key VALUE",
        "auth_pass VALUE",
        "storePassword 'VALUE'",
        'keyPassword "VALUE"',
        "set passwd VALUE",
    ),
    *("connection.setPassword('VALUE')", 'builder.withPassword("VALUE")', "options.password('VALUE')"),
    *('DriverManager.getConnection(url, "bob", "VALUE")', "new NetworkCredential('bob', 'VALUE')"),
    *(
        "requests.get(url, auth=('bob', 'VALUE'))",
        'HTTPBasicAuth("bob", "VALUE")',
        "smtp.login('bob', 'VALUE')",
    ),
    *(
        'new mysqli("db1", "bob", "VALUE", "shop")',
        "new PDO($dsn, 'bob', 'VALUE')",
        "pymysql.connect(host, 'bob', 'VALUE')",
    ),
    *(
        'new PasswordAuthentication("bob", "VALUE".toCharArray())',
        'var dbPass string = "VALUE"',
        "-Dsonar.login=TOKEN",
    ),
    *(
        "SET PASSWORD FOR bob = PASSWORD('VALUE')",
        "kubectl create secret generic x --from-literal=password=VALUE",
    ),
    *(
        "helm install x y --set auth.password=VALUE",
        "ansible all -e ansible_ssh_pass=VALUE",
        "gcloud sql users create b --password=VALUE",
    ),
    *(
        "az ad sp create --password VALUE",
        "terraform apply -var='db_password=VALUE'",
        "vault kv put secret/x password=VALUE",
    ),
    *(
        "mongodb://bob:LETTERS@db1.local/x",
        "amqp://bob:LETTERS@mq1.local:5672/",
        "postgresql://bob:LETTERS@db1.local/x",
    ),
)


@pytest.mark.parametrize("template", NAMED)
def test_secrets_by_the_names_of_drivers_tools_and_frameworks(
    template: str, inspector: LocalInspector
) -> None:
    chance = random.Random(template)
    hits = 0
    for _ in range(20):
        letters = make.text(chance, 11, "abcdefghiklmnoprstuv")
        secret = {"TOKEN": make.text(chance, 36), "LETTERS": letters}.get(
            next((kind for kind in ("TOKEN", "LETTERS") if kind in template.split("_TOKEN")[-1]), ""),
            make.text(chance, 9) + "4x",
        )
        line = template
        for kind in ("LETTERS", "VALUE"):
            line = line.replace(kind, secret)
        head, _, tail = line.rpartition("TOKEN")
        line = head + secret + tail if "TOKEN" in template and "VALUE" not in template else line
        found = inspector.inspect_text(f"# setup\n{line}\n".encode())
        hits += any(one.quote == secret and one.likelihood >= Likelihood.POSSIBLE for one in found)
    assert hits / 20 >= 0.95


@pytest.mark.parametrize(
    "line",
    [
        *(
            "ENV DB_PASS ${DB_PASS}",
            "ENV TOKEN_FILE /run/secrets/token",
            "DB_PASS=$DB_PASS",
            "PASS = None",
            "secretkey=true",
        ),
        *(
            "mysql -u root -p shop",
            "mysql -p$MYSQL_PWD shop",
            "docker run -p 8080:80 nginx",
            "podman run -p 9000 app1",
        ),
        *(
            "mkdir -p /srv/app1",
            "ssh -p 2222 db1",
            "docker login -u bob -p ${PASS}",
            "sshpass -f pass.txt ssh db1",
        ),
        *(
            "redis-cli -h db1 -p 6379",
            "Server=db;Password=${PASS};",
            "Server=db;Password=<password>;Database=x",
        ),
        *(
            "requirepass ${PASS}",
            "zip -r a.zip b2",
            "openssl rsa -passin env:PASS1",
            "openssl enc -pass file:/srv/k1",
        ),
        *(
            "kubectl port-forward -p web-5d4f8c",
            "az group list -o table",
            "the unzip command -x1 pattern22 here",
        ),
        *(
            "form.setPassword(password2)",
            'client.login(user, getpass("Password: "))',
            "auth=('user', 'password')",
        ),
        *(
            'setPassword("Enter your new password 2")',
            "new PDO($dsn, $user, $pass1)",
            "echo Hj7kQ2mZx9 | sha256sum",
        ),
        *(
            "sqlplus /nolog @run9.sql",
            "db1:5432:*:*",
            "ssh-keygen -t ed25519 -f k9",
            "net use x: \\\\db1\\share9",
        ),
        *(
            "snmp-server community",
            "mysqli_query($db, 'x', 'y1')",
            "usermod -p '!' bob",
            "security import key9.pem",
        ),
        *(
            '["password", "username", "email"]',
            "check(password, value2)",
            "login('bob')",
            "getConnection('a', 'b9')",
        ),
    ],
)
def test_commands_and_strings_without_a_password(line: str, inspector: LocalInspector) -> None:
    assert [
        one.quote for one in inspector.inspect_text(f"{line}\n".encode()) if one.info_type.name in SECRETS
    ] == []


# Other forms of an assignment: what stands between a name and its value, or around the value.
FORMS = {
    "anchor.yaml": "DB_PASSWORD: &pw VALUE\nother: *pw\n",
    "tag.yaml": "DB_PASSWORD: !secure 'VALUE'\n",
    "folded.yaml": "DB_PASSWORD: >2-\n  VALUE\n",
    "next_line.yaml": "DB_PASSWORD:\n  VALUE\n",
    "next_line_quoted.yaml": 'DB_PASSWORD:\r\n  "VALUE"\r\n',
    "block.yaml": "env:\n- name: DB_PASSWORD\n  value: |\n    VALUE\n",
    "workflow.yml": "DB_PASSWORD: ${{ secrets.X || 'VALUE' }}\n",
    "lines.toml": 'password = """\nVALUE"""\n',
    "line.toml": "password = '''VALUE'''\n",
    "continued.properties": "db.password=\\\n   VALUE\n",
    "continued.ini": "[db]\npassword =\n    VALUE\n",
    "array.sh": "PASSWORDS=(VALUE)\n",
    "by_key.sh": "declare -A PASSWORDS=([admin]=VALUE)\n",
    "element.sh": 'PASSWORDS[admin]="VALUE"\n',
    "universal.fish": "set -Ux DB_PASSWORD 'VALUE'\n",
    "set.fish": "set DB_PASSWORD 'VALUE'\n",
    "brace.ps1": "${env:DB_PASSWORD} = 'VALUE'\n",
    "item.ps1": "Set-Item -Path env:DB_PASSWORD -Value 'VALUE'\n",
    "here.ps1": "$Password = @'\nVALUE\n'@\n",
    "registry.cmd": "reg add HKLM\\x /v DefaultPassword /t REG_SZ /d VALUE /f\n",
    "text.java": 'String password = """\n    VALUE\n    """;\n',
    "raw.kt": 'val dbPassword = """VALUE"""\n',
    "arrow.scala": 'val conf = Map("password" -> "VALUE")\n',
    "bytes.go": 'password := []byte("VALUE")\n',
    "raw.cs": 'string password = """VALUE""";\n',
    "heredoc.php": "<?php $password = <<<'EOT'\nVALUE\nEOT;\n",
    "q.rb": "password = %q(VALUE)\n",
    "heredoc.rb": "password = <<~PW\n  VALUE\nPW\n",
    "block.rb": "ENV.fetch('DB_PASSWORD') { 'VALUE' }\n",
    "triple.py": "DB_PASSWORD = '''VALUE'''\n",
    "union.py": "password: str | None = 'VALUE'\n",
    "final.py": "password: Final[str] = 'VALUE'\n",
    "secret.py": "password = SecretStr('VALUE')\n",
    "field.py": "password: str = Field(default='VALUE')\n",
    "default.py": 'os.environ.get("DB_PASSWORD", default="VALUE")\n',
    "option.py": 'add_argument("--password", type=str, default="VALUE")\n',
    "compared.py": "if password == 'VALUE':\n",
    "static.rs": 'static PASSWORD: &\'static str = "VALUE";\n',
    "raw.rs": 'let password = r#"VALUE"#;\n',
    "some.rs": 'password: Some("VALUE".to_string()),\n',
    "array.c": 'static char password[32] = "VALUE";\n',
    "wide.cpp": 'std::wstring password = L"VALUE";\n',
    "q.pl": "my $password = q{VALUE};\n",
    "hash.pl": "$cfg{password} = 'VALUE';\n",
    "default.pl": "$ENV{DB_PASSWORD} //= 'VALUE';\n",
    "arrow.R": 'password <- "VALUE"\n',
    "declare.sql": "DECLARE @password NVARCHAR(50) = N'VALUE';\n",
    "variable.sql": "v_password VARCHAR2(30) := 'VALUE';\n",
    "login.sql": "CREATE LOGIN bob WITH PASSWORD = N'VALUE';\n",
    "with.sql": "CREATE USER bob IDENTIFIED WITH sha256_password BY 'VALUE';\n",
    "heredoc.tf": "password = <<-EOT\n  VALUE\n  EOT\n",
    "bold.md": "**Password:** VALUE\n",
    "code.md": "**Password**: `VALUE`\n",
    "encoded.log": "body=user%3Dbob%26password%3DVALUE%26x%3D1\n",
    "together.sh": "curl -sSu 'bob:VALUE' https://shop.io\n",
    "attached.sh": "curl -ubob:VALUE https://shop.io\n",
    "any.pgpass": "db.corp.io:5433:*:bob:VALUE\n",
    "default.j2": "password: \"{{ db_password | default('VALUE') }}\"\n",
    "site.conf": "SetEnv DB_PASSWORD VALUE\n",
    "binary.config": '{password, <<"VALUE">>}.\n',
    "suite.robot": "${PASSWORD}    VALUE\n",
    "wrapped.pp": "password => Sensitive('VALUE'),\n",
    "colour.log": "password: \x1b[31mVALUE\x1b[0m\n",
    "escaped.js": 'load("{\\u0022password\\u0022: \\u0022VALUE\\u0022}")\n',
}


@pytest.mark.parametrize("file", FORMS)
def test_what_stands_between_a_name_and_its_value_hides_no_secret(
    file: str, inspector: LocalInspector
) -> None:
    name = file if file.endswith((".toml", ".yaml", ".yml")) else f"{file}.txt"
    assert VALUE in secrets_in(inspector, name, FORMS[file].replace("VALUE", VALUE))
    # A placeholder there is none.
    assert secrets_in(inspector, name, FORMS[file].replace("VALUE", "changeme")) == []


@pytest.mark.parametrize(
    "content",
    [
        "password:\n  valueFrom:\n    ssm: /prod/db\n",
        "DB_PASSWORD=\n  DB_USER=user1\n",
        "password =\n    read from stdin, see chapter2\n",
        'def f(password: str, mode="r-1"):\n',
        "password: LoginForm, user = 'x-1'\n",
        "password = '',port=5432,user='x-1'\n",
        "password = getpass.getpass('password-1: ')\n",
        "set password for user1\n",
        "arn:aws:secretsmanager:*:123456789012:secret:prod-db-Ab1xY2\n",
        "`C:\\new\\temp` has no password\n",
    ],
)
def test_what_only_looks_like_such_a_form_holds_none(content: str, inspector: LocalInspector) -> None:
    assert secrets_in(inspector, "a.txt", content) == []


def test_every_value_of_a_key_that_a_json_object_repeats_is_inspected(inspector: LocalInspector) -> None:
    other = VALUE[::-1]
    found = secrets_in(
        inspector, "a.json", f'{{"password": "{VALUE}", "password": "{other}", "password": "changeme"}}'
    )
    assert sorted(filter(None, found)) == sorted([VALUE, other])


def test_a_table_of_names_and_values_of_any_size(inspector: LocalInspector) -> None:
    size = 5_000
    names = ["DB_PASSWORD" if row == 4_321 else f"setting_{row}" for row in range(size)]
    values = [VALUE if row == 4_321 else f"value{row}" for row in range(size)]
    found = inspector.inspect_columns({"key": pa.array(names), "value": pa.array(values)})
    secrets = [
        (one.location.row, one.location.column, one.quote) for one in found if one.info_type.name in SECRETS
    ]
    assert secrets == [(4_321, "value", VALUE)]


SEQUENCE, UNIQUE = (
    "abcdef" + "1234567890" + "abcdef" + "1234567890",
    "3f2a9c1e-7b4d-4e0a-9c55-" + "0d1e2f3a4b5c",
)
IN_A_SECRETS_PLACE = {
    "a.env": "SERVICE_TOKEN={}\n",
    "a.json": '{{"api_token": "{}"}}',
    "a.txt": "curl -H 'Authorization: Bearer {}' https://api1.local\n",
    "a.yaml": "- name: CLIENT_SECRET\n  value: {}\n",
    "b.json": '[{{"name": "CLIENT_SECRET", "value": "{}"}}]',
    "Dockerfile": "ENV SERVICE_TOKEN {}\n",
}


@pytest.mark.parametrize("value", [SEQUENCE, UNIQUE])
@pytest.mark.parametrize("file", IN_A_SECRETS_PLACE)
def test_a_setting_counts_sequences_and_uuids_in_a_secrets_place(file: str, value: str) -> None:
    content = IN_A_SECRETS_PLACE[file].format(value)
    asked = LocalInspector(
        InspectConfig(include_quote=True, dummy_secrets=True), b"a key of these tests only"
    )
    assert secrets_in(asked, file, content) == [value]
    elsewhere = (
        content.replace("TOKEN", "ID").replace("SECRET", "ID").replace("token", "id").replace("Bearer", "id")
    )
    assert secrets_in(asked, file, elsewhere) == []


def test_uuids_and_unquoted_sequences_are_no_secrets_without_that_setting(inspector: LocalInspector) -> None:
    for file, content in IN_A_SECRETS_PLACE.items():
        assert secrets_in(inspector, file, content.format(UNIQUE)) == []
    assert secrets_in(inspector, "a.env", f"SERVICE_TOKEN={SEQUENCE}\n") == []
    asked = LocalInspector(
        InspectConfig(include_quote=True, dummy_secrets=True), b"a key of these tests only"
    )
    for harmless in ("00000000-0000-0000-0000-000000000000", "changeme", "x" * 32, "EXAMPLE" * 4):
        assert secrets_in(asked, "a.env", f"SERVICE_TOKEN={harmless}\n") == [], harmless
