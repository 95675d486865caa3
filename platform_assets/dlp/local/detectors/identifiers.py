"""Numbers issued by states, banks and manufacturers: their notations and their validation."""

from __future__ import annotations

from platform_assets.dlp.local import checks
from platform_assets.dlp.local.detectors.declaration import Detector, Form
from platform_assets.dlp.model import Likelihood, Sensitivity

_LIKELY, _POSSIBLE, _UNLIKELY = Likelihood.LIKELY, Likelihood.POSSIBLE, Likelihood.UNLIKELY
_VERY_UNLIKELY = Likelihood.VERY_UNLIKELY
_HIGH, _MODERATE, _LOW = Sensitivity.HIGH, Sensitivity.MODERATE, Sensitivity.LOW

IDENTIFIERS: tuple[Detector, ...] = (
    Detector(
        "CREDIT_CARD_NUMBER",
        _HIGH,
        (
            "credit card, creditcard, debit card, card, cards, card number, cardnumber, cc, ccn, cc "
            "number, pan, visa, mastercard, master card, amex, american express, discover, diners, "
            "diners "
            "club, jcb, maestro, unionpay, rupay, kreditkarte, kartennummer, carte bancaire, carte de "
            "credit, carte de crédit, tarjeta, carta di credito, cartao, cartão, creditcardnumber, "
            "payment card, card no, kortnummer, luottokortti, nr karty, numer karty, kart numarası, "  # noqa: RUF001
            "номер карты, "
            "カード番号, 信用卡号, 신용카드, número de tarjeta, número do cartão, numéro de carte, "
            "numero di carta, creditkaart"
        ),
        forms=(
            Form(r"0{13,19}"),
            Form(r"0{12}", tolerant=False),
            Form(r"0000([ \-.])0000\g<sep>0000\g<sep>0000"),
            Form(r"0000([ \-.])0000\g<sep>0000\g<sep>0000\g<sep>0{1,3}"),
            Form(r"0000([ \-.])000000\g<sep>00000"),
            Form(r"0000([ \-.])000000\g<sep>0000"),
            Form(r"0000([ \-.])0000\g<sep>0000\g<sep>0{1,3}"),
            Form(r"000000([ \-])0{7,13}"),
            Form(r"0000([ \-])0{9,12}"),
            Form(r"0000  0000  0000  0000"),
        ),
        valid=checks.payment_card,
        version="2",
        chance=0.03,
    ),
    Detector(
        "IMEI_HARDWARE_ID",
        _LOW,
        "imei, imei number, imeisv, handset, device id, phone imei",
        forms=(Form(r"0{15}", _POSSIBLE), Form(r"00([ \-])000000\g<sep>000000\g<sep>0")),
        valid=checks.imei,
        chance=0.02,
    ),
    Detector(
        "US_SOCIAL_SECURITY_NUMBER",
        _HIGH,
        (
            "ssn, ssns, ss, social security, social security number, social security no, socsec, "
            "soc sec, "
            "socialsecurity, ssnum, ssid, tin, taxpayer, itin, social number, social, nss, "
            "seguro social, "
            "número de seguro social, seguridad social, numero de seguro social"
        ),
        forms=(
            Form(r"000-00-0000", _LIKELY),
            Form(r"000([ .])00\g<sep>0000", _POSSIBLE),
            Form(r"0{9}", _VERY_UNLIKELY),
        ),
        valid=checks.us_ssn,
        version="2",
        chance=0.88,
    ),
    Detector(
        "US_EMPLOYER_IDENTIFICATION_NUMBER",
        _LOW,
        (
            "ein, fein, employer identification, employer identification number, federal tax id, federal "
            "tax, tax id, employer id, taxpayer identification, tin, irs"
        ),
        forms=(Form(r"00-0000000", _POSSIBLE), Form(r"0{9}", _VERY_UNLIKELY)),
        valid=checks.us_ein,
        chance=0.85,
        tolerant=False,
    ),
    Detector(
        "US_BANK_ROUTING_MICR",
        _MODERATE,
        (
            "routing, routing number, aba, aba number, aba routing, rtn, micr, routing transit, bank "
            "routing, abartn, routing no, wire, rtg, rtg no, bank routing no"
        ),
        forms=(Form(r"0{9}", _UNLIKELY), Form(r"0000-0000-0", _LIKELY)),
        valid=checks.us_routing,
        chance=0.04,
    ),
    Detector(
        "CANADA_SOCIAL_INSURANCE_NUMBER",
        _HIGH,
        (
            "sin, social insurance, social insurance number, social insurance no, nas, "
            "numéro d assurance "
            "sociale, assurance sociale, sin number, soc ins, soc ins no, social ins, social ins no"
        ),
        forms=(Form(r"000([ \-])000\g<sep>000", _POSSIBLE), Form(r"0{9}", _UNLIKELY)),
        valid=checks.ca_sin,
    ),
    Detector(
        "AUSTRALIA_TAX_FILE_NUMBER",
        _HIGH,
        "tfn, tax file, tax file number, tfn number, australian tax, ato",
        forms=(
            Form(r"000([ \-])000\g<sep>000", _POSSIBLE),
            Form(r"0{9}", _UNLIKELY),
            Form(r"0{8}", _VERY_UNLIKELY),
        ),
        valid=checks.au_tfn,
        chance=0.09,
    ),
    Detector(
        "NETHERLANDS_BSN_NUMBER",
        _HIGH,
        (
            "bsn, burgerservicenummer, burger service nummer, citizen service number, sofinummer, sofi, "
            "sofi nummer, persoonsnummer"
        ),
        forms=(
            Form(r"0{9}", _UNLIKELY),
            Form(r"0000([.])00\g<sep>000", _LIKELY),
            Form(r"000([ .\-])000\g<sep>000", _UNLIKELY),
            Form(r"0{8}", _VERY_UNLIKELY),
        ),
        valid=lambda number: checks.nl_bsn(number.zfill(9)),
        chance=0.09,
    ),
    Detector(
        "UK_NATIONAL_HEALTH_SERVICE_NUMBER",
        _HIGH,
        "nhs, nhs number, nhs no, national health service, national health, health service number, "
        "health service no",
        forms=(Form(r"000 000 0000", _POSSIBLE), Form(r"000-000-0000", _UNLIKELY), Form(r"0{10}", _UNLIKELY)),
        valid=checks.uk_nhs,
        chance=0.09,
    ),
    Detector(
        "AUSTRALIA_MEDICARE_NUMBER",
        _HIGH,
        "medicare, medicare number, medicare card, medicare no, m care, m care no",
        forms=(
            Form(r"0000([ \-])00000\g<sep>0(?:[ \-/]?0)?", _LIKELY),
            Form(r"0{10,11}", _UNLIKELY),
        ),
        valid=checks.au_medicare,
        chance=0.045,
    ),
    Detector(
        "SWEDEN_NATIONAL_ID_NUMBER",
        _HIGH,
        (
            "personnummer, personal number, swedish id, samordningsnummer, personnr, swedish personal, "
            "identitetsnummer, pnr, födelsenummer, swedish national id, pers nr, p nr, personnumren, "
            "personnumret, "
            "personnummren, persnr"
        ),
        forms=(
            Form(r"000000[\-+]0000", _LIKELY),
            Form(r"00000000[\-+]0000", _LIKELY),
            Form(r"0{12}", _POSSIBLE),
            Form(r"0{10}", _UNLIKELY),
        ),
        valid=checks.se_personal_number,
        chance=0.008,
    ),
    Detector(
        "POLAND_PESEL_NUMBER",
        _HIGH,
        "pesel, pesel number, numer pesel, nr pesel, powszechny elektroniczny system",
        forms=(Form(r"0{11}", _POSSIBLE),),
        valid=checks.pl_pesel,
        chance=0.018,
    ),
    Detector(
        "BRAZIL_CPF_NUMBER",
        _HIGH,
        "cpf, cadastro de pessoas físicas, cadastro de pessoas fisicas, pessoa física, contribuinte",
        forms=(
            Form(r"000\.000\.000-00", _LIKELY),
            Form(r"000([ .\-])000\g<sep>000\g<sep>00"),
            Form(r"0{11}"),
        ),
        valid=checks.br_cpf,
        chance=0.01,
    ),
    Detector(
        "GERMANY_TAXPAYER_IDENTIFICATION_NUMBER",
        _HIGH,
        (
            "steuer, steuer id, steuer identifikationsnummer, steuerid, steueridentifikationsnummer, "
            "steuernummer, steuerliche identifikationsnummer, idnr, identifikationsnummer, tin, tax id, "
            "german tax, steuer idnr, steuer nr, stidnr"
        ),
        forms=(
            Form(r"00 000 000 000"),
            Form(r"00([ .\-/])000\g<sep>000\g<sep>000"),
            Form(r"0{11}", _POSSIBLE),
        ),
        valid=checks.de_tax_id,
        chance=0.02,
    ),
    Detector(
        "INDIA_AADHAAR_INDIVIDUAL",
        _HIGH,
        "aadhaar, aadhar, adhaar, aadhaar number, uid, uidai, unique identification, आधार, "
        "आधार संख्या, आधार नंबर, "
        "ஆதார், ఆధార్, আধার, આધાર, ಆಧಾರ್",
        forms=(Form(r"0000([ \-])0000\g<sep>0000", _LIKELY), Form(r"0{12}", _UNLIKELY)),
        valid=checks.in_aadhaar,
        chance=0.08,
    ),
    Detector(
        "FRANCE_NIR",
        _HIGH,
        (
            "nir, sécurité sociale, securite sociale, numéro de sécurité sociale, insee, ssn, numero de "
            "securite sociale, carte vitale, sécu, secu, french social security, social security, social "
            "security number, social number"
        ),
        forms=(
            Form(r"0 ?00 ?00 ?(?:00|0A) ?000 ?000 ?00"),
            Form(r"0([.\-])00\g<sep>00\g<sep>(?:00|0A)\g<sep>000\g<sep>000(?:[.\-]|  ?)00"),
            Form(r"0{7}[0A]0{7}"),
            Form(r"0{6}A0{8}"),
            Form(r"0 00 00 00 000 000", _UNLIKELY),
        ),
        valid=checks.fr_nir,
        chance=0.003,
    ),
    Detector(
        "SPAIN_NIF_NUMBER",
        _HIGH,
        (
            "nif, dni, nie, documento nacional, documento nacional de identidad, cif, número de "
            "identificación, identificación fiscal, numero de identificacion"
        ),
        forms=(Form(r"0{8}[\- ]?A"), Form(r"A[\- ]?0{7}[\- ]?A"), Form(r"00\.000\.000-?A")),
        valid=checks.es_nif,
        chance=0.04,
    ),
    Detector(
        "ITALY_FISCAL_CODE",
        _HIGH,
        "codice fiscale, fiscal code, cod fisc, codice, cf, c f, tax code, codfisc",
        forms=(Form(r"A{6}00A00A000A"), Form(r"AAA AAA 00A00 A000A"), Form(r"A{6}[A0]{9}A", _LIKELY)),
        valid=checks.it_codice_fiscale,
        chance=0.01,
    ),
    Detector(
        "UK_NATIONAL_INSURANCE_NUMBER",
        _HIGH,
        (
            "nino, national insurance, national insurance number, ni number, ni no, "
            "insurance number, nat "
            "ins, ni"
        ),
        forms=(Form(r"AA0{6}A"), Form(r"AA([ \-])00\g<sep>00\g<sep>00\g<sep>A"), Form(r"AA 0{6} ?A")),
        valid=checks.uk_nino,
        chance=0.09,
    ),
    Detector(
        "INDIA_PAN_INDIVIDUAL",
        _HIGH,
        "pan, pan card, pan number, permanent account number, income tax, pan no, permanent account, "
        "perm acct no, स्थायी खाता संख्या, पैन, पैन नंबर",
        forms=(Form(r"AAAAA0000A"),),
        valid=checks.in_pan,
        chance=0.38,
        tolerant=False,
    ),
    Detector(
        "POLAND_NATIONAL_ID_NUMBER",
        _HIGH,
        (
            "dowód, dowod, dowód osobisty, dowodu osobistego, identity card, polish id, id card, numer "
            "dowodu, seria i numer, dowód tożsamości, national id"
        ),
        forms=(Form(r"AAA ?0{6}", _UNLIKELY),),
        valid=checks.pl_identity_card,
    ),
    Detector(
        "IBAN_CODE",
        _HIGH,
        (
            "iban, iban code, bank account, account number, bankverbindung, kontonummer, konto, account, "
            "compte, cuenta, rekening, rekeningnummer, conto, rachunek"
        ),
        forms=(
            Form(r"AA00[A0]{11,30}"),
            Form(r"AA00(?:([ \-])[A0]{4})(?:\g<sep>[A0]{4}){1,6}(?:\g<sep>[A0]{1,4})?"),
            Form(r"AA00[A0 ]{13,40}", _POSSIBLE),
        ),
        valid=checks.iban,
        chance=0.01,
    ),
    Detector(
        "VAT_NUMBER",
        _LOW,
        (
            "vat, vat number, vat no, vat id, vat reg, ust, ustid, ust id, ust idnr, umsatzsteuer, tva, "
            "iva, btw, moms, nip, vatin, partita iva, mwst, uid, vat registration, umsatzsteuer "
            "identifikationsnummer, btw nummer, numéro de tva, tax number"
        ),
        forms=(
            Form(r"AA[ \-]?(?:[A0]{2}[ \-]?)?0{7,12}(?:[ \-]?A0{2})?"),
            Form(r"AA ?[A0]?0{7,8}[A0]{1,2}"),
            Form(r"AAA-?000\.?000\.?000(?: ?(?:AAA|AAAA))?"),
            Form(r"AA ?000 ?0000 ?00"),
        ),
        valid=checks.vat,
        chance=0.1,
    ),
    Detector(
        "VEHICLE_IDENTIFICATION_NUMBER",
        _LOW,
        (
            "vin, vehicle, vehicle identification, vehicle identification number, chassis, chassis "
            "number, vin number, fahrgestellnummer, fin, car vin"
        ),
        forms=(Form(r"(?=[0A]*A)(?=[0A]*0)[0A]{13}0{4}"),),
        valid=checks.vehicle,
        chance=0.09,
    ),
)
"""Identifiers by their forms. If two fit equally well, the earlier one wins."""

NOT_AN_IDENTIFIER = (
    "order, orders, order id, order number, order no, invoice, invoice number, tracking, "
    "tracking number, "
    "shipment, parcel, sku, isbn, ean, gtin, upc, asin, barcode, serial, serial number, build, version, "
    "ticket, batch, commit, revision, timestamp, epoch, hash, uuid, guid, checksum, sha, md5, "
    "transaction "
    "id, transaction, txn, request id, trace, trace id, span id, session id, event id, row id, product, "
    "product id, part number, item, item number, lot, case number, reference, ref, ref no, confirmation, "
    "booking, message id, bestellnummer, rechnungsnummer, coupon, catalog, model number, firmware, port, "
    "pid, offset, bytes, size, duration, nonce, seq, sequence, counter, etag, latitude, longitude, lat, "
    "lon, lng, population, amount, price, total, npi, provider identifier, mrn, medical record number, bug, "
    "pull request"
)
"""Words for something else: nearer to a number than any hotword, they are evidence against it."""
