"""Contact data of people and machines: e-mail, telephone, network addresses."""

from __future__ import annotations

from platform_assets.dlp.local import checks
from platform_assets.dlp.local.detectors.declaration import Detector
from platform_assets.dlp.model import Sensitivity
from platform_assets.formats.words import word_set

CONTACTS: tuple[Detector, ...] = (
    Detector(
        "EMAIL_ADDRESS",
        Sensitivity.MODERATE,
        "email, e mail, mail, email address, mailto, courriel, correo, posta",
        version="2",
    ),
    Detector(
        "PHONE_NUMBER",
        Sensitivity.MODERATE,
        "phone, phones, phone number, phonenumber, phone no, telephone, tel, telefon, telefono, "
        "teléfono, "
        "téléphone, "
        "telefone, mobile, mobil, mobiltelefon, mobile number, cell, cell phone, cellphone, cellular, "
        "fax, call, "
        "called, calling, call me, call us, contact number, contact no, handy, handynummer, whatsapp, "
        "sms, text me, dial, hotline, helpline, landline, phone1, phone2, msisdn, ring me, me a ring, "
        "móvil, "
        "movil, celular, portable, "
        "rufnummer, telefonnummer, extension, voicemail, reach me, reach us, reached at, home number, "
        "work number, tele, fon, contact, contacts, callback, call back, reach, reachable, switchboard, "
        "front desk, helpdesk, desk, answering, pick up, texting, messages to, text to, phone nr, "
        "ph, mob, "
        "gsm, cel, fono, tlf, tfno, tél, telefax, faks, mobilnummer, mobilnr, telefonnr, telefonní, "
        "puhelin, "
        "komórka, numer telefonu, телефон, тел, моб, τηλέφωνο, 电话, 手机, 電話, 携帯, 전화, "
        "फ़ोन, मोबाइल, הנייד, טלפון, هاتف, "
        "teléf, teléfonos, telefoni, tlfn, rufnr, telefoonnummer, telefoonnr, mobielnummer, mobiel, "
        "nr telefonu, "
        "telefony, komórkowy, telefonszám, puh, puhelinnumero, telefonní číslo, telefónne číslo, "
        "mobiltelefon, numero di telefono, "
        "número de teléfono, número de telefone, numéro de téléphone, cellulare, cell num, "
        "telefon numarası, "  # noqa: RUF001
        "номер телефона, телефоны, мобильный, αριθμός τηλεφώνου, κινητό, 電話番号, 携帯番号, "
        "携帯電話, 电话号码, "
        "手机号, 手机号码, 電話號碼, 전화번호, 휴대폰, 휴대전화, दूरभाष, फोन, फोन नंबर, मोबाइल नंबर, "
        "رقم الهاتف, الجوال",
        chance=0.3,
        version="2",
    ),
    # Every file of source code is full of addresses, and they are not sensitive; what hides in them has its
    # own info types.
    Detector("URL", Sensitivity.LOW, version="2", by_default=False, contains=True),
    Detector(
        "DOMAIN_NAME",
        Sensitivity.LOW,
        "domain, host, hostname, website, site, domain name, fqdn",
        version="2",
        by_default=False,
    ),
    Detector(
        "IP_ADDRESS",
        Sensitivity.LOW,
        "ip, ips, ip address, ipaddr, ipv4, ipv6, address, host, server, client, remote, remote addr, "
        "src, dst, "
        "source ip, gateway, peer, dns, subnet, login from, logged in from",
        version="2",
    ),
    Detector(
        "MAC_ADDRESS",
        Sensitivity.LOW,
        "mac, mac address, macaddr, physical address, hardware address, hwaddr, bssid, ethernet, ether",
    ),
    Detector(
        "BITCOIN_ADDRESS",
        Sensitivity.MODERATE,
        "bitcoin, btc, wallet, satoshi, xbt, crypto, bitcoin address",
        valid=checks.bitcoin,
    ),
    Detector(
        "ETHEREUM_ADDRESS",
        Sensitivity.MODERATE,
        "ethereum, eth, ether, wallet, erc20, metamask, crypto, address, wei",
        valid=checks.ethereum,
    ),
    Detector(
        "SWIFT_CODE",
        Sensitivity.LOW,
        "swift, bic, swift code, bic code, swiftcode, bank code, bank identifier, bank identifier code, "
        "swift bic, "
        "swift number, iban, swift bic code",
        valid=checks.swift,
    ),
)

VERSION_NAMES = (
    "version, versions, ver, v, rv, release, released, build, upgrade, upgraded, update, assembly, "
    "assemblyversion, "
    "fileversion, firmware, section, chapter, paragraph, oid, revision, rev, changelog, package, semver, "
    "driver, spec, specification, clause, appendix, annex, rfc, subsection, subsubsection, oids, mib, "
    "objectidentifier"
)
"""Words that mark four dotted numbers beside them as a version, not an address."""

VERSION_WORDS = frozenset(VERSION_NAMES.split(", "))
"""The same words, one by one."""

TOP_LEVEL_DOMAINS = word_set("""
    com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post
    arpa xxx app dev io ai co me tv cc ws ly gg sh to fm gl it la st so vc online site store shop tech
    xyz club top vip blog cloud digital agency email company solutions services systems network group
    media studio design world today news life live space website host press wiki work works team tools
    academy center community education university school college consulting finance financial bank
    insurance money capital fund ventures health care clinic dental hospital pharmacy law legal attorney
    lawyer estate realty house homes land global international foundation charity ngo church bible
    restaurant pizza cafe coffee bar beer wine kitchen fashion clothing shoes jewelry boutique beauty
    salon spa fitness yoga football golf tennis run bike car cars auto taxi flights hotel holiday tours
    vacations cruises photo photos photography pictures gallery art music band film movie video tube
    game games casino bet bingo poker chat dating social love link click bid date download faith loan
    men party racing review science stream trade webcam win icu buzz cyou monster rest bond fun uno one
    plus best cool expert guru tips how page pages web zone eu berlin hamburg koeln bayern wien paris
    london nyc tokyo moscow ac ad ae af ag al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj
    bm bn bo br bs bt bw by bz ca cd cf cg ch ci ck cl cm cn cr cu cv cw cx cy cz de dj dk dm do dz ec
    ee eg er es et fi fj fk fo fr ga gb gd ge gf gh gi gm gn gp gq gr gt gu gw gy hk hm hn hr ht hu id
    ie il im in iq ir is je jm jo jp ke kg kh ki km kn kp kr kw ky kz lb lc li lk lr ls lt lu lv ma mc
    md mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa
    pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg si sk sl sm sn sr ss sv
    sx sy sz tc td tf tg th tj tk tl tm tn tr tt tw tz ua ug uk us uy uz va ve vg vi vn vu wf ye yt za
    zm zw
    """)
"""Common top-level domains; an e-mail address or a URL may also have any other."""

FILE_SUFFIXES = word_set("""
    py sh rs md pl cc so ps ai js ts go java rb php html css json xml txt csv log zip app info name me
    in is it as id do to at be by no my am name run page date download work works land zone one best
    plus how cat bar art st la pm mo ml ms ad al am ac net
    """)
"""Top-level domains that are also common file suffixes, attributes, or words after a missing space."""
