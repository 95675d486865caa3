"""Words beside values: abbreviated, dotted, in plural; small letters; columns named after people."""

# ruff: noqa: RUF001

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.scanner import hotwords
from platform_assets.dlp.model import Evidence, InspectConfig
from platform_assets_tests.dlp import generated as make
from platform_assets_tests.dlp.test_quality import TRUTH


@pytest.fixture(scope="module")
def inspector() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def found(inspector: LocalInspector, text: str) -> set[tuple[str, str | None]]:
    return {(one.info_type.name, one.quote) for one in inspector.inspect_text(text.encode())}


@pytest.mark.parametrize(
    ("text", "info_type", "value"),
    [
        *(
            (f"{word} 04/05/1987", "DATE_OF_BIRTH", "04/05/1987")
            for word in ("D.O.B:", "D.O.B.", "DOBs:", "Geb.:")
        ),
        *(
            (f"{word} 04/05/1987", "DATE_OF_BIRTH", "04/05/1987")
            for word in ("Geb.-Dat.:", "Data ur.:", "Fec. Nac.:")
        ),
        *(
            (f"{word} 04/05/1987", "DATE_OF_BIRTH", "04/05/1987")
            for word in ("né le", "nata il", "birth dates:")
        ),
        *(
            (f"{word} 523456789", "US_SOCIAL_SECURITY_NUMBER", "523456789")
            for word in ("S.S.N.:", "S.S.N", "SSNs:")
        ),
        *(
            (f"{word} 123 456 782", "AUSTRALIA_TAX_FILE_NUMBER", "123 456 782")
            for word in ("T.F.N:", "TFNs:")
        ),
        *(
            (f"{word} C01X00T47", "PASSPORT", "C01X00T47")
            for word in ("Pass-Nr.:", "Reisepass-Nr.:", "Passport No.")
        ),
    ],
)
def test_dotted_abbreviated_and_plural_words_name_a_value(
    text: str, info_type: str, value: str, inspector: LocalInspector
) -> None:
    assert (info_type, value) in found(inspector, f"{text}\n")


def test_words_in_plural_name_several_values(inspector: LocalInspector) -> None:
    assert found(inspector, "dates of birth: 04/05/1987, 06/07/1990 and 08/09/1991") == {
        ("DATE_OF_BIRTH", day) for day in ("04/05/1987", "06/07/1990", "08/09/1991")
    }


@pytest.mark.parametrize(
    "text", ["Due: 04/05/1987", "D.O.A: 04/05/1987", "Dobson 04/05/1987", "P.S. 523456789", "Pass-Nr.: none"]
)
def test_other_words_and_abbreviations_name_nothing(text: str, inspector: LocalInspector) -> None:
    assert not {name for name, _ in found(inspector, text)} & {
        "DATE_OF_BIRTH",
        "US_SOCIAL_SECURITY_NUMBER",
        "PASSPORT",
        "PASSWORD",
    }


@pytest.mark.parametrize(
    "address",
    [
        *("500 elm street", "12 north oak avenue", "7 st. james court", "1 old mill rd", "hauptstraße 5"),
        *(
            "221b baker street",
            "42 west 3rd street",
            "742 evergreen terrace",
            "p.o. box 4521",
            "bahnhofstr. 7a",
        ),
        *("lindenallee 14", "kerkstraat 8", "keizersgracht 123", "kungsgatan 12", "15 rue de la paix"),
        *(
            "12 bis rue des lilas",
            "3 avenue de verdun",
            "calle mayor 12",
            "avda. de la paz 4",
            "corso italia 22",
        ),
        *("via roma 10", "rua augusta 1500", "ul. długa 5"),
    ],
)
def test_addresses_in_small_letters(address: str, inspector: LocalInspector) -> None:
    text = f"she lives at {address}, springfield"
    assert "STREET_ADDRESS" in {name for name, _ in found(inspector, text)}


@pytest.mark.parametrize(
    "text",
    [
        "a 10 minute drive",
        "a 2 way street",
        "the 4 lane road",
        "24 hours on the road",
        "a 500 gb hard drive",
        "sent via port 8080",
        "5 avenue traffic",
        "renegade 12",
        "constr. 5",
        "the instr. 3 of it",
        "auf dem weg 9",
    ],
)
def test_distances_and_drives_are_no_addresses(text: str, inspector: LocalInspector) -> None:
    assert "STREET_ADDRESS" not in {name for name, _ in found(inspector, text)}


NAMES = pa.array(["Anna", "Maria", "Daniel", "Laura", "Peter", "Sofia", "Thomas", "Julia"])


@pytest.mark.parametrize(
    "column", ["host_name", "driver", "tenant", "customer", "contact", "author", "ownerName"]
)
def test_columns_of_given_names_are_known_by_the_role_of_people(
    column: str, inspector: LocalInspector
) -> None:
    verdicts = inspector.inspect_columns({column: NAMES}).columns
    assert [verdict.info_type.name for verdict in verdicts] == ["PERSON_NAME"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("host_name", ["web", "db", "cache", "anna", "mail", "proxy"]),
        ("driver", ["postgresql", "mysql", "sqlite", "oracle", "odbc"]),
        ("customer", ["Acme", "Globex", "Initech", "Umbrella", "Hooli"]),
        ("tenant", ["default", "staging", "production", "sandbox"]),
    ],
)
def test_columns_of_roles_that_hold_machines_and_companies(
    column: str, values: list[str], inspector: LocalInspector
) -> None:
    assert inspector.inspect_columns({column: pa.array(values)}).columns == ()


LABELS = {
    "CREDIT_CARD_NUMBER": """
        Card No.; Card Nos; C.C.; C.C. No.; Kreditkarten-Nr.; Kreditkartennummer; Kartennr.;
        Karten-Nr.; N° de carte; Nº tarjeta; N. carta; Numéro de carte; Número de tarjeta;
        número do cartão; numero carta di credito; creditcardnr; kortnummer; nr karty;
        numer karty; kart numarası; номер карты; カード番号; 信用卡号; luottokortti
    """,
    "IBAN_CODE": """
        I.B.A.N.; IBANs; Bankverbindung; N° IBAN; Kontonr.; Konto-Nr.
    """,
    "US_SOCIAL_SECURITY_NUMBER": """
        S.S.N.; S.S.N; SSNs; SS#; Soc. Sec. No.; Social Sec. No.; Social Security Nos.; Soc.Sec.#;
        número de seguro social; NSS; SS No.; Soc Sec Num
    """,
    "US_EMPLOYER_IDENTIFICATION_NUMBER": """
        E.I.N.; EINs; F.E.I.N.; Fed. Tax ID; Employer ID No.; Tax I.D.
    """,
    "US_BANK_ROUTING_MICR": """
        A.B.A.; ABA No.; Routing No.; Routing Nos.; R.T.N.; RTN:; ABA#; Rtg. No.; Bank routing #
    """,
    "CANADA_SOCIAL_INSURANCE_NUMBER": """
        S.I.N.; SINs; Soc. Ins. No.; N.A.S.; NAS; numéro d'assurance sociale;
        no d'assurance sociale; N° d'assurance sociale; Social Ins. No.
    """,
    "AUSTRALIA_TAX_FILE_NUMBER": """
        T.F.N.; T.F.N; TFNs; Tax File No.; Tax File Nos; Tax-File-Number; tax file #
    """,
    "AUSTRALIA_MEDICARE_NUMBER": """
        Medicare No.; Medicare card no.; Medicare nos.; M'care No.; Medicare #; medicare numbers
    """,
    "NETHERLANDS_BSN_NUMBER": """
        B.S.N.; BSNs; BSN-nummer; BSN nr.; burgerservicenr.; burgerservicenummers; sofi-nummer;
        sofinr.; sofi-nr.
    """,
    "UK_NATIONAL_HEALTH_SERVICE_NUMBER": """
        N.H.S. No.; NHS No.; NHS nos; N.H.S. Number; NHS #; NHS numbers; Health Service No.
    """,
    "UK_NATIONAL_INSURANCE_NUMBER": """
        N.I. No.; N.I.N.O.; Nat. Ins. No.; NI Nos; National Ins. No.; N.I.; NINOs
    """,
    "INDIA_AADHAAR_INDIVIDUAL": """
        Aadhaar No.; Aadhaar Nos; Aadhar card no; U.I.D.; UID No.; U.I.D.A.I.; आधार संख्या;
        आधार नंबर; aadhaars
    """,
    "INDIA_PAN_INDIVIDUAL": """
        P.A.N.; PAN No.; PANs; Perm. Acct. No.; स्थायी खाता संख्या; पैन
    """,
    "BRAZIL_CPF_NUMBER": """
        C.P.F.; CPFs; CPF nº; CPF/MF; C.P.F. n.º; CPF do titular; Nº CPF
    """,
    "SPAIN_NIF_NUMBER": """
        D.N.I.; DNIs; N.I.F.; NIFs; N.I.E.; D.N.I. nº; DNI núm.; núm. de identificación
    """,
    "FRANCE_NIR": """
        N.I.R.; NIRs; N° Sécu; n° de sécurité sociale; N° S.S.; no sécu. sociale; num. sécu;
        No. séc. soc.; n° INSEE; Numéros de sécurité sociale
    """,
    "GERMANY_TAXPAYER_IDENTIFICATION_NUMBER": """
        Steuer-Nr.; Steuer-ID; Steuer-IdNr.; St.-Nr.; Steuernr.; Steueridentifikationsnummern;
        IdNr.; Steuer-Ident-Nr.; Id.-Nr.; St.-Id.-Nr.; TIN; Steuer-IDs; Pers. Steuer-ID;
        Steuerident
    """,
    "ITALY_FISCAL_CODE": """
        C.F.; Cod. Fisc.; Cod.Fisc.; Codici fiscali; C.F. n.; cod. fiscale; CODICE FISC.
    """,
    "POLAND_PESEL_NUMBER": """
        P.E.S.E.L.; nr PESEL; PESEL-e; numery PESEL; Nr. PESEL; PESELs; PESEL nr
    """,
    "SWEDEN_NATIONAL_ID_NUMBER": """
        Pers.nr; Pers.nr.; Personnr.; P.nr; Pnr.; Personnumren; personnummren; Pers nr;
        samordningsnr
    """,
    "IMEI_HARDWARE_ID": """
        I.M.E.I.; IMEIs; IMEI No.; IMEI-Nr.; n° IMEI; IMEI Nos
    """,
    "VEHICLE_IDENTIFICATION_NUMBER": """
        V.I.N.; VINs; Fahrgestell-Nr.; Fahrgestellnr.; FIN; F.I.N.; Chassis No.; N° de châssis;
        Nº bastidor; Numero telaio; numéro de série
    """,
    "DATE_OF_BIRTH": """
        D.O.B.; DOBs; Geb.-Datum; Geb.-Dat.; geb.; Geb. am; Geburtstag; Geburtsdaten; Birth Dt.;
        B'day; Bday; Date de naiss.; Né(e) le; née le; Nac.; F. Nac.; Fecha de nac.; Fec. nac.;
        Data di nasc.; nata il; nato il; Data nasc.; Dt. Nasc.; Nascido em; nascida a; Data ur.;
        urodzony; urodzona; Ur. dnia; Geb.datum; geboren op; Geb. dat.; född; Född den;
        Födelsedatum; fødselsdag; født; syntynyt; synt.; d. nar.; datum narození; született;
        szül.; szül. idő; doğum tarihi; дата рождения; д.р.; родился; 生年月日; 出生日期; 생년월일; जन्म तिथि;
        ημερομηνία γέννησης; תאריך לידה; تاريخ الميلاد
    """,
    "PASSPORT": """
        Pass-Nr.; Passnr.; Reisepass-Nr.; Reisepassnr.; Passport No.; Passport Nos.; Ppt. No.;
        P/P No.; Passport #; N° de passeport; No. de passeport; N° passeport; Nº de pasaporte;
        Nº pasaporte; Núm. pasaporte; pasaportes; N. passaporto; passaporto n.; Nº do passaporte;
        passaporte n.º; paspoortnr.; paspoort-nr; nr paszportu; paszport nr; passnummer; pass nr;
        passnr; pasnummer; passinumero; číslo pasu; útlevélszám; pasaport no; номер паспорта;
        паспорт; パスポート番号; 旅券番号; 护照号码; 护照号; 여권번호; पासपोर्ट; διαβατήριο; דרכון; جواز السفر
    """,
    "PHONE_NUMBER": """
        Tel.; Ph.; Ph. No.; Phone Nos.; Tel. No.; Tel. Nos; Mob.; Mob. No.; Cell.; Tél.;
        N° de tél.; Téléphones; Teléf.; Tfno.; Tlf.; Tlfn; Tel.-Nr.; Telefon-Nr.; Telefonnr.;
        Handy-Nr.; Mobilnr.; Rufnr.; Fax-Nr.; Nº de teléfono; núm. de teléfono; N. telefono;
        telefoni; Nº de telefone; telefones; telefoonnr.; telefoonnummer; tel.nr; gsm-nr; nr tel.;
        nr telefonu; telefonnummer; telefonszám; puh.; telefoni; tel. č.; тел.; номер телефона;
        電話番号; 电话号码; 전화번호
    """,
}
"""Words before a value in the languages of the countries whose numbers are known: abbreviated, in plural."""

VALUES: dict[str, make.Make] = {
    **{name: made for name, (made, _) in TRUTH.items()},
    "US_EMPLOYER_IDENTIFICATION_NUMBER": lambda chance: "12" + make.digits(chance, 7),
    "DATE_OF_BIRTH": lambda chance: f"04.05.{chance.randrange(1940, 2005)}",
    "PASSPORT": lambda chance: f"C{make.digits(chance, 2)}X{make.digits(chance, 2)}T{make.digits(chance, 2)}",
    "PHONE_NUMBER": lambda chance: "41555501" + make.digits(chance, 2),
}
AS_WRITTEN = {"CREDIT_CARD_NUMBER", "IBAN_CODE", "DATE_OF_BIRTH", "VEHICLE_IDENTIFICATION_NUMBER"}


@pytest.mark.parametrize("info_type", LABELS)
def test_labels_of_many_languages_name_a_value(info_type: str, inspector: LocalInspector) -> None:
    chance = random.Random(info_type)
    missed = []
    for label in (" ".join(one.split()) for one in LABELS[info_type].split(";")):
        value = VALUES[info_type](chance)
        if info_type not in AS_WRITTEN:
            value = "".join(filter(str.isalnum, value))
        for text in (f"{label} {value}\n", f"{label.rstrip(':')}: {value}\n"):
            if info_type not in {name for name, _ in found(inspector, text)}:
                missed.append(text)
    assert missed == []


@pytest.mark.parametrize(
    ("info_type", "value"), [("EMAIL_ADDRESS", "u7k@bluefirbank.org"), ("IP_ADDRESS", "81.27.143.66")]
)
@pytest.mark.parametrize("separator", [" ", ". "])
def test_every_hotword_before_an_address_counts(
    inspector: LocalInspector, info_type: str, value: str, separator: str
) -> None:
    for phrase in hotwords().phrases_of(info_type):
        for words in (phrase, tuple(map(str.upper, phrase)), tuple(map(str.title, phrase))):
            text = f"qwq {separator.join(words)}{separator} {value}"
            likely = [one for one in inspector.inspect_text(text.encode()) if one.info_type.name == info_type]
            assert [Evidence.HOTWORD in one.evidence for one in likely] == [True], text


def test_part_of_a_word_before_an_address_is_no_hotword(inspector: LocalInspector) -> None:
    for words in ("snailmailing", "emailed", "addresses4u"):
        found = inspector.inspect_text(f"qwq {words} u7k@bluefirbank.org".encode()).findings
        assert [one.evidence for one in found] == [(Evidence.SHAPE, Evidence.VALIDATOR)], words
