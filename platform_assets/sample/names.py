"""Static tables of the sample business: an invented company, its partners and offices, with awkward values.

The awkward values resemble those of the real database that break careless code: commas, apostrophes,
ampersands and parentheses in names, leading zeros in codes and telephone numbers, a misspelt city. Missing
values are NULL, never empty strings.
"""

from __future__ import annotations

ADDRESSES: tuple[tuple[str, str | None, str | None, str, str, str, str], ...] = (
    ("12 Harrow Steps", None, "Rutland", "Amberwick", "38214", "Portugal", "1442 509318"),
    ("4408 Tannery Row", None, None, "Port Selwyn", "71906-4413", "Samoa", "6120 774095"),
    ("91 Quillmaker Lane", "Copper Yard", None, "Oxenholt", "08841", "Zimbabwe", "0417 330862"),
    ("7 Saltmarsh Parade", None, "Cumbria", "Lower Brindle", "52770", "Republic of Korea", "3305 918824"),
    ("260 Windlass Drive", None, None, "Thornmere", "64035-0917", "Bosnia and Herzegovina", "0092 615430"),
    ("0385 Foundry Walk", "Unit 6, Cask House", None, "Greyford", "02916", "Faroe Islands", "7781 204963"),
    ("18 Lanternhill Rise", None, "Rutland", "Santa Brea", "49381-5520", "Indonesia", "5064 882317"),
    (
        "53 Millrace Court",
        None,
        "Borders",
        "Vellingham",
        "83307",
        "Democratic People's Republic of Korea",
        "4918 700256",
    ),
    ("6172 Cooper's Wharf", None, None, "New Astley", "20458-7731", "Australia", "0263 591048"),
    ("34 Orchardman Way", "Pear Tree Annexe", "Dorset", "Kettlesby", "95112", "Iceland", "8450 136729"),
    ("809 Beacon Terrace", None, None, "East Harling Bay", "36620-0084", "United Kingdom", "2397 455081"),
    ("2 Ropewalk Gardens", None, "Cumbria", "Dunmarrow", "01275-6609", "Tajikistan", "0558 214370"),
    ("5521 Heronsgate", "Mill Floor", None, "Wexcombe", "77843", "Bouvet Island (Bouvetoya)", "6902 873145"),
    ("77 Chandler Street", None, "Dorset", "Rillington Park", "60591-3348", "Iraq", "3174 069582"),
    ("146 Stonebow", None, None, "Fort Eddery", "48026", "Heard Island and McDonald Islands", "9283 541607"),
    ("0091 Falconer Close", None, "Borders", "Marlow Heath", "05543-1190", "Japan", "1506 328794"),
    ("330 Gaslight Avenue", None, None, "Penhallick", "82769", "Kiribati", "7049 615238"),
    ("25 Drover's End", "Barn 3", "Rutland", "Nether Colby", "14380-2267", "Sierra Leone", "0831 497506"),
    (
        "918 Shipwright Road",
        None,
        None,
        "Castle Ambrey",
        "69104",
        "Svalbard & Jan Mayen Islands",
        "4620 185973",
    ),
    ("61 Bellfounder Mews", None, "Devon", "Upper Trensham", "27795", "Guam", "5517 908324"),
    ("4 Papermill Bend", None, None, "Lindquay", "93318-4402", "Bolivia", "0046 273891"),
    ("1203 Vinegar Yard", "Second Gate", None, "Osterly", "50867", "Papua New Guinea", "2938 640175"),
    ("88 Cartwright Loop", None, "Devon", "San Aurelio", "76231-0053", "Antigua and Barbuda", "8163 057429"),
    ("472 Nightingale Spur", "Annexe B", "Devon", "Hollin Bridge", "41950", "Sudan", "0375 829614"),
    ("15 Glazier Hill", "The Old Kiln", "Dorset", "Wyndale", "08127-9936", "American Samoa", "6284 710593"),
    ("7390 Tidewater Line", None, None, "Bramcote Sands", "65472", "Austria", "1097 364852"),
    ("209 Skylark Crossing", "Rear Office", "Cumbria", "Old Pellham", "32089-7715", "Congo", "4751 928306"),
    ("3 Weaver's Reach", None, "Borders", "Tollgate", "87604", "Falkland Islands (Malvinas)", "0619 583247"),
    ("560 Ambassador Row", "Floor 9", None, "Calder Vale", "19943-2081", "Turkey", "9340 271658"),
    ("41 Springhead Lock", None, "Rutland", "Mossbury", "73518", "Cote d'Ivoire", "3826 109475"),
)
"""Line 1, line 2, district, city, postal code, country, telephone; 20 lack line 2, 14 lack a district."""

COUNTERPARTIES = (
    ("Hartwell, Osei and Brandt", 15, "Imogen Vale", "Mr. Rupert Ashdown"),
    ("Tamsin & Daughters", 28, "Leopold Marsh", "Odette Fairweather"),
    ("Kestrel Imports Ltd", 2, "Bryony Calloway", "Anselm Pike"),
    ("Nordvik - Salter", 29, "Dr. Cedric Holm", "Petra Lindqvist"),
    ("Quayle, Dunmore and Frost", 22, "Marguerite Stone", "Hugo Balfour III"),
    ("Pemberly LLC", 23, "Ottilie Grange", "Jonah Whitlock"),
    ("Okafor, Reyes and Lund", 16, "Ms. Verity Lockhart", "Christy O'Hara"),
    ("Greenhalgh - Moss", 16, "Theo Larkspur", "Winifred Bell"),
    ("Bluestone Group", 5, "Cornelius Ward", "Sabine Roth"),
    ("Ferris - D'Arcy", 10, "Lavinia Croft", "Ezra Pendle"),
    ("Marchetti Inc", 17, "Rosalind Keene", "Caspian Hale"),
    ("Vantongeren - Achterberg", 7, "Edmund Farrow", "Delphine Marchand"),
    ("Sorrel, Thackeray and Quint", 5, "Philippa Dray", "Magnus Thorne"),
    ("Holloway, Ng and Petrov", 30, "Mrs. Agatha Plum", "Rafael Ibarra PhD"),
    ("Underhill, Baptiste and Crane", 17, "Silas Merriweather", "Juno Castellan DVM"),
    ("Ellery, Strand and Kowalski", 14, "Beatrix Fenwick DDS", "Tobias Nightingale"),
    ("Larkin Group", 17, "Dr. Ines Valdemar", "Barnaby Rook"),
    ("Wickham and Sons", 17, "Freya Hollis", "Oscar Penhaligon"),
    ("Adeyemi, Cross and Vogel", 18, "Clementine Hart", "Lucian Graves"),
    ("Trelawney, Boone and Sharp", 2, "Isolde Kerr", "Matilda Swann"),
)
"""Legal name, legal_address_id, commercial contact, delivery contact."""

CURRENCIES = ("GBP", "USD", "EUR")

DEPARTMENTS = (
    ("Sales", "Manchester", "Audrey Penrose"),
    ("Purchasing", "Manchester", "Gideon Marlowe"),
    ("Production", "Leeds", "Harriet Boland"),
    ("Dispatch", "Leds", "Quentin Ferrars"),
    ("Finance", "Manchester", "Sunniva Dahl"),
    ("Facilities", "Manchester", "Ambrose Tully"),
    ("Communications", "Leeds", "Cordelia Finch"),
    ("HR", "Leeds", "Lionel Abara"),
)
"""Name, location (`Leds` is as misspelt in the real database), manager."""

STAFF = (
    ("Alba", "Whitcombe", 2),
    ("Caleb", "Ostrander", 6),
    ("Dahlia", "Renfrew", 6),
    ("Elias", "Thorpe", 3),
    ("Fenella", "Achebe", 8),
    ("Gareth", "Lindholm", 3),
    ("Hester", "Valdez", 2),
    ("Ivor", "Castellane", 7),
    ("Josefa", "Bright", 2),
    ("Killian", "Marsh", 2),
    ("Lorna", "Petrossian", 5),
    ("Milo", "Hathaway", 5),
    ("Nerys", "Coldwell", 4),
    ("Osric", "VanDoren", 7),
    ("Perpetua", "Sterling", 3),
    ("Quincy", "Adair", 6),
    ("Rosamund", "O'Dwyer", 3),
    ("Stellan", "Whitfield", 8),
    ("Thea", "Baptista", 2),
    ("Ulric", "Fairbairn", 3),
)
"""Given name, family name, department_id; the e-mail address follows from the names, apostrophe included."""

MAIL_DOMAIN = "terrifictotes.com"

DESIGN_NAMES = (
    "Canvas",
    "Linen",
    "Denim",
    "Hessian",
    "Velvet",
    "Corduroy",
    "Bamboo",
    "Cork",
    "Felt",
    "Jute",
    "Tweed",
    "Silk",
)

DESIGN_FOLDERS = (
    "/usr/share",
    "/usr/local/src",
    "/usr/lib",
    "/opt/lib",
    "/opt/designs",
    "/opt/share/totes",
    "/srv",
    "/srv/artwork",
    "/home/user",
    "/home/user/dir",
    "/home/studio",
    "/media",
    "/mnt/archive",
    "/net",
    "/private/tmp",
    "/private/var",
    "/var/spool",
    "/var/opt",
    "/var/log",
    "/usr/obj",
    "/etc/periodic",
    "/etc/defaults",
    "/boot/defaults",
    "/Library",
    "/Library/Designs",
    "/Network",
    "/System",
    "/Users",
    "/Users/Shared",
    "/Applications",
)

ALL_DIGITS_ITEM_CODE = "9002744"
