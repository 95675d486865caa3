"""What is known of a person by its column or its words: names, origin, address, birth, passport.

No check digit proves any of these. In a text they need a word beside them or a dictionary; in a table the
column's name and its values speak together.
"""

from __future__ import annotations

from platform_assets.dlp.detectors.declaration import Detector, phrase_set, word_set
from platform_assets.dlp.model import Sensitivity

_HIGH = Sensitivity.HIGH

PEOPLE: tuple[Detector, ...] = (
    Detector(
        "PERSON_NAME",
        Sensitivity.MODERATE,
        "first name, firstname, last name, lastname, full name, fullname, surname, given name, givenname, "
        "family name, "
        "middle name, maiden name, fname, lname, forename, person name, customer name, patient name, "
        "employee name, "
        "contact name, cardholder, card holder, cardholder name, name on card, account holder, "
        "beneficiary name, "
        "sender name, recipient name, vorname, nachname, nom, prénom, prenom, apellido, apellidos, "
        "nombre, cognome, "
        "patient, applicant, passenger, guest name, student name, author name, owner name, signatory, "
        "display name, "
        "emergency contact, next of kin, nom de famille, imię, nazwisko, voornaam, achternaam, efternamn, "
        "förnamn",
    ),
    Detector(
        "ETHNIC_GROUP",
        _HIGH,
        "ethnicity, ethnic, ethnic group, ethnic origin, race, racial, ethnic background, ancestry, ethnie",
    ),
    Detector(
        "STREET_ADDRESS",
        Sensitivity.MODERATE,
        "address, street, street address, address line, address line 1, addr, address1, address 1, home "
        "address, "
        "mailing address, billing address, shipping address, postal address, residence, lives at, "
        "strasse, straße, "
        "adresse, anschrift, rue, domicilio, dirección, direccion, indirizzo, adres, delivery address, "
        "street name, "
        "address2, address line 2, calle, endereço",
    ),
    Detector(
        "DATE_OF_BIRTH",
        Sensitivity.MODERATE,
        "dob, d o b, birth, birthdate, birth date, birthday, date of birth, born, born on, dateofbirth, "
        "geburtsdatum, "
        "geboren, date de naissance, né le, née le, naissance, fecha de nacimiento, nacido, nascita, data "
        "di nascita, "
        "geboortedatum, data de nascimento, birth dt, födelsedatum, data urodzenia, birthdt",
    ),
    Detector(
        "PASSPORT",
        _HIGH,
        "passport, passport number, passport no, passportnumber, passport num, passeport, reisepass, "
        "pasaporte, "
        "passaporto, paspoort, paszport, passport id, passaporte, reisepassnummer, numéro de passeport",
    ),
)

GIVEN_NAMES = word_set("""
    aaron abigail adam adrian agnes aisha alan albert alex alexander alexandra alexis alice alicia
    alison allison amanda amber amelia amy ana anastasia andrea andreas andrew angel angela anita ann
    anna anne annette annie anthony antonio april arthur ashley audrey barbara beatrice ben benjamin
    bernard beth betty beverly bill billy bob bonnie brad bradley brandon brenda brett brian brianna
    bridget bruce bryan caleb calvin cameron camille carl carla carlos carmen carol caroline carolyn
    carrie catherine cathy cecilia chad charlene charles charlotte cheryl chloe chris christian
    christina christine christopher cindy claire clara clarence claudia colin connie connor corey
    courtney craig cristina crystal curtis cynthia daisy dale dan daniel daniela danielle danny darlene
    darren dave david dawn dean deborah debra denise dennis derek derrick diana diane diego dolores
    dominic donald donna doris dorothy douglas duane dustin dylan earl eddie edgar edith eduardo edward
    edwin eileen elaine eleanor elena eli elizabeth ella ellen emily emma enrique eric erica erik erika
    erin ernest ethan eugene eva evan evelyn fatima felix fernando fiona florence frances francesca
    francis francisco frank franz fred frederick friedrich gabriel gabriela gabrielle gail gary gavin
    geoffrey george gerald geraldine gina giovanni giulia giuseppe glen glenn gloria gordon grace greg
    gregory gretchen guillermo gustavo hannah hans harold harriet harry harvey heather hector heidi
    heinrich helen helena helga henry herbert herman holly howard hugh hugo ian ibrahim ida ignacio igor
    ingrid irene iris isaac isabel isabella ivan jack jackie jackson jacob jacqueline jacques jaime jake
    james jamie jan jane janet janice jared jasmine jason javier jay jean jeanette jeff jeffery jeffrey
    jenna jennifer jenny jeremiah jeremy jerome jerry jesse jessica jesus jill jim jimmy joan joann
    joanna joanne jocelyn joe joel johan johann johannes john johnny jon jonathan jordan jorge jose
    joseph joshua joyce juan juanita judith judy julia julian juliana julie jun justin kaitlyn karen
    karin karl karla kate katherine kathleen kathryn kathy katie katrina kayla keith kelly kelsey ken
    kenneth kerry kevin kim kimberly klaus kristen kristin kristina kurt kyle lance larry lars laura
    lauren laurie lawrence leah lee lena leo leon leonard leonardo leslie lewis liam lillian lily linda
    lindsay lindsey lisa lloyd logan lois lorenzo lori lorraine louis louise luca lucas lucia lucy luigi
    luis luke lydia lynn mackenzie madeline madison maggie malcolm manuel marc marcel marco marcus
    margaret maria mariana marie marilyn mario marion marisa marjorie mark markus marlene marsha marta
    martha martin martina marvin mary mason mateo mathew mathieu matteo matthew matthias maureen maurice
    max maximilian maxwell megan mehmet meghan melanie melinda melissa melvin mercedes meredith micheal
    michael michaela micheal michel michele michelle miguel mike mila mildred miranda mitchell mohamed
    mohammad mohammed moira molly monica monique morgan muhammad nancy naomi natalia natalie natasha
    nathan nathaniel neil nicholas nick nicola nicolas nicole nikita nina noah noel noelle nora norma
    norman olga oliver olivia omar oscar otto owen pablo paige pamela paola paolo pat patricia patrick
    paul paula pauline pedro peggy penelope perry peter petra phil philip philippe phillip phyllis
    pierre pietro priya rachel rafael rahul raj ralph ramon randall randy raul ray raymond rebecca
    regina reginald renee rhonda ricardo richard rick ricky riley rita robert roberta roberto robin
    rodney rodrigo roger roland ron ronald rosa rose rosemary ross roy ruben ruby russell ruth ryan
    sabrina sally salvador sam samantha samuel sandra sandy santiago sara sarah savannah scott sean
    sebastian sergei sergio seth shane shannon sharon shaun shawn sheila shelby shelly sherri sherry
    shirley sierra simon sofia sonia sophia sophie spencer stacey stacy stanley stefan stefanie stella
    stephanie stephen steve steven stuart sue summer susan susanne suzanne svetlana sven sydney sylvia
    tamara tammy tanya tara tatiana taylor ted teresa terri terry theodore theresa thomas tiffany tim
    timothy tina todd tom tommy toni tony tracey traci tracy travis trevor tristan troy tyler tyrone
    ursula valentina valerie vanessa vera veronica vicki victor victoria vincent viola violet virginia
    vivian vladimir wade walter wanda warren wayne wendy werner wesley wilhelm william willie wolfgang
    xavier yasmin yolanda yuki yusuf yvette yvonne zachary zoe ahmed ali amit ananya arjun deepak fatma
    hassan hussein karim khalid kumar layla leila mei ming mustafa nadia noor omar pooja rania ravi
    sanjay sunita vijay wei xiao yan ying yong zhang hiroshi kenji sakura takashi yoko jiho minjun
    seojun oluwaseun chidi kwame amara astrid bjorn erik freja gunnar linnea magnus nils oskar sigrid
    agnieszka andrzej jakub katarzyna krzysztof malgorzata piotr tomasz aleksandra dmitri ekaterina
    natalya nikolai olena oksana bruna felipe gabriela joao larissa leticia luiza marcelo rafaela thiago
    vinicius amelie antoine camille celine clement elodie emilie etienne francois guillaume jerome
    julien laurent lucie manon mathilde nathalie olivier pascal quentin remi sylvie thierry alejandro
    alvaro andres beatriz carolina catalina cesar emilio esteban fabian gonzalo ines jimena joaquin
    josefina lorena marisol mercedes nicolas paloma ramiro renata rocio sofia tomas ximena alessandro
    alessia bianca chiara davide elisa fabio federica federico filippo franco gianluca giorgia giorgio
    ilaria lorenzo luciano marcello massimo michela nicola paola riccardo roberta salvatore silvia
    simona stefano valentina anja bernd birgit dieter doris elke florian gabriele gerhard gisela gunther
    hannelore heike holger horst ingeborg jens jorg jurgen jutta karsten katja kerstin manfred monika
    norbert rainer ralf renate rolf rudiger sabine silke stefan susanne tobias torsten udo ulrich ulrike
    ute uwe volker
    """)
"""Given names in frequent use in censuses of several countries, without accents."""

SURNAMES = word_set("""
    abbott adams aguilar alexander allen alvarez anderson andrews armstrong arnold austin bailey baker
    baldwin ball banks barber barker barnes barnett barrett bates becker bell bennett berry bishop black
    boyd bradley brewer brooks brown bryant burke burns burton bush butler byrd caldwell campbell
    carlson carpenter carr carroll carter castillo castro chambers chan chandler chang chapman chavez
    chen christensen clark clarke cohen cole coleman collins contreras cook cooper cox craig crawford
    cruz cunningham curtis daniels davidson davies davis day dean delgado diaz dixon doyle duncan dunn
    edwards elliott ellis estrada evans farmer fernandez ferguson fields fischer fisher fleming fletcher
    flores ford foster fowler fox francis franklin frazier freeman fuller garcia gardner garner garrett
    garza gibson gilbert gomez gonzales gonzalez goodman gordon graham grant graves gray green greene
    greer griffin griffith guerrero gupta gutierrez guzman hale hall hamilton hansen hanson harper
    harris harrison hart harvey hawkins hayes henderson henry hernandez herrera hicks higgins hill
    hoffman holland holmes holt hopkins horton howard howell hudson hughes hunt hunter ibrahim jackson
    jacobs james jenkins jennings jensen jimenez johnson johnston jones jordan joseph kapoor keller
    kelley kelly kennedy khan kim king klein knight kumar lambert lane larson lawrence lawson lee
    leonard lewis li lin little liu long lopez lowe lucas lynch lyons macdonald malone mann marshall
    martin martinez mason matthews may mccarthy mccoy mcdonald mckinney medina mehta mendez mendoza
    meyer miller mills mitchell montgomery moore morales moreno morgan morris morrison muller munoz
    murphy murray myers nelson newman newton nguyen nichols norris obrien oliver olson ortega ortiz
    owens padilla palmer park parker patel patterson payne perez perkins perry peters peterson pham
    phillips pierce porter powell powers price quinn ramirez ramos ramsey ray reed reese reid reyes
    reynolds rhodes rice richards richardson riley rios rivera roberts robertson robinson rodgers
    rodriguez rogers romero rose ross rossi ruiz russell russo ryan salazar sanchez sanders santiago
    santos schmidt schneider schroeder schultz schwartz scott sharma shaw shelton silva simmons simon
    simpson sims singh smith snyder soto spencer stanley stephens stevens stewart stone sullivan sutton
    suzuki swanson tanaka taylor thomas thompson torres tran tucker turner tyler underwood valdez vargas
    vasquez vazquez vega wagner walker wallace walsh walters wang ward warner warren washington watkins
    watson watts weaver webb weber welch wells west wheeler white williams williamson willis wilson wong
    wood woods wright wu yamamoto yang york young zhang zhao zimmerman dubois durand lefebvre leroy
    moreau petit richard roux bernard bauer braun hartmann hofmann koch kruger lang lange lehmann maier
    neumann peters richter schafer schmitt schubert schulz schwarz vogel walter weiss winkler wolf
    zimmermann bianchi colombo conti costa esposito ferrari fontana gallo greco marino ricci romano
    jansen bakker visser smit devries vandenberg johansson andersson karlsson nilsson eriksson larsson
    olsson persson svensson kowalski nowak wisniewski wojcik kaminski lewandowski zielinski ivanov
    petrov smirnov sokolov popov almeida carvalho ferreira gomes lima oliveira pereira ribeiro rocha
    rodrigues souza sousa ahmed ali hussain khan malik reddy rao verma yadav nair iyer chowdhury das
    bose banerjee mukherjee kobayashi nakamura sato takahashi watanabe
    """)
"""Family names in frequent use, likewise."""

ETHNIC_GROUPS = phrase_set("""
    white, black, african american, black or african american, asian, asian american, hispanic, latino,
    latina, latinx, hispanic or latino, not hispanic or latino, non hispanic, caucasian, native
    american, american indian, american indian or alaska native, alaska native, native hawaiian, pacific
    islander, native hawaiian or other pacific islander, middle eastern, arab, jewish, roma, romani,
    gypsy or irish traveller, white british, white irish, white other, other white, black british, black
    african, black caribbean, caribbean, mixed, mixed race, biracial, multiracial, two or more races,
    chinese, indian, pakistani, bangladeshi, south asian, east asian, southeast asian, filipino,
    vietnamese, korean, japanese, aboriginal, torres strait islander, maori, pacific peoples, first
    nations, metis, inuit, kurdish, berber, persian, turkish, sami, african, indigenous, white non
    hispanic, black non hispanic, british asian, british indian, any other white background, any other
    asian background, mestizo, mulatto, han chinese, zulu, xhosa, yoruba, igbo, hausa, swahili, hutu,
    tutsi
    """)
"""Terms of ethnic groups as censuses use them. In a text only beside a hotword: most are ordinary words."""

STREET_WORDS = (
    "street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|square|sq|terrace|ter|"
    "way|"
    "circle|cir|parkway|pkwy|highway|hwy|crescent|close|grove|mews|trail|trl|alley|plaza|row|walk|gardens|"
    "route|"
    "turnpike|loop|path|point|ridge|view|views|village|villages|station|stravenue|throughway|track|"
    "trafficway|"
    "isle|island|junction|keys|knoll|lakes|landing|locks|manor|meadow|meadows|mill|mission|motorway|mount|"
    "mountain|"
    "neck|orchard|overpass|park|pass|passage|pike|pine|plain|port|prairie|radial|ramp|ranch|rapid|rest|"
    "river|run|"
    "shoal|shore|skyway|spring|springs|spur|spurs|squares|stream|summit|tunnel|underpass|union|valley|"
    "viaduct|ville|"
    "vista|wall|well|wells|camp|canyon|cape|causeway|center|cliff|club|common|corner|course|cove|creek|"
    "crest|crossing|"
    "curve|dale|dam|divide|estate|expressway|extension|fall|falls|ferry|field|flat|ford|forest|forge|fork|"
    "fort|freeway|"
    "garden|gateway|glen|green|harbor|haven|heights|hill|hills|hollow|inlet"
)
"""What the names of streets end with in English, as the United States Postal Service lists it."""

SURE_STREET_WORDS = (
    "street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|square|terrace|"
    "circle|parkway|pkwy|highway|hwy|crescent"
)
"""Those that are hardly ever anything else after a number and a capital letter."""
