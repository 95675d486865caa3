"""Personal data recognised by column names and words: names, origin, address, birth, passport.

None of these has a check digit. In a text they need a nearby word or a dictionary; in a table, the column's
name and its values are judged together.
"""

from __future__ import annotations

from platform_assets.dlp.local.detectors.declaration import Detector, phrase_set
from platform_assets.dlp.model import Sensitivity
from platform_assets.formats.words import word_set

_HIGH = Sensitivity.HIGH

PEOPLE: tuple[Detector, ...] = (
    Detector(
        "PERSON_NAME",
        Sensitivity.MODERATE,
        "first name, firstname, last name, lastname, full name, fullname, surname, given name, "
        "givenname, "
        "family name, "
        "middle name, maiden name, fname, lname, forename, person name, customer name, patient name, "
        "employee name, "
        "contact name, cardholder, card holder, cardholder name, name on card, account holder, "
        "beneficiary name, "
        "sender name, recipient name, vorname, nachname, nom, prénom, prenom, apellido, apellidos, "
        "nombre, cognome, "
        "patient, applicant, passenger, guest name, student name, author name, owner name, signatory, "
        "display name, "
        "emergency contact, next of kin, nom de famille, imię, nazwisko, voornaam, achternaam, "
        "efternamn, "
        "förnamn",
        version="2",
    ),
    Detector(
        "ETHNIC_GROUP",
        _HIGH,
        "ethnicity, ethnic, ethnic group, ethnic origin, race, racial, ethnic background, ancestry, ethnie",
        version="2",
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
        "address2, address line 2, calle, endereço, live at, lived at, living at, residing at, "
        "resides at, located at, "
        "ship to, deliver to, wohnhaft, wohnt in, habite, domicilié, domiciliado, residente, addresses, "
        "abita in, abito in, vive en, vivo en, mora na, moro na, woont op, mieszka przy, bor på",
        version="2",
    ),
    Detector(
        "DATE_OF_BIRTH",
        Sensitivity.MODERATE,
        "dob, d o b, birth, birthdate, birth date, birthday, date of birth, born, born on, dateofbirth, "
        "geburtsdatum, nacida, "
        "geboren, date de naissance, né le, née le, naissance, fecha de nacimiento, nacido, nascita, "
        "data "
        "di nascita, "
        "geboortedatum, data de nascimento, birth dt, födelsedatum, data urodzenia, birthdt, "
        "dates of birth, born in, geb, geb am, geb dat, geboren am, geburtstag, geboortedat, "
        "fec nac, fecha nac, f nac, "
        "data nasc, dt nasc, nato il, nata il, date naiss, d naiss, ddn, data ur, data urodz, "
        "fodselsdato, fodt, "
        "syntymaaika, datum narozeni, "
        "bday, b day, birth day, geb datum, gebdatum, data nascita, fødselsdato, 生年月日, 出生日期, "
        "date de naiss, d nar, geburtsdaten, geburtsdatums, fecha de nac, nac, data di nasc, "
        "né e le, né en, née en, fechas de nacimiento, "
        "dates de naissance, date di nascita, nascido em, nascida em, nascida a, nascido a, nasc, "
        "urodzony, urodzona, urodzeni, ur dnia, geboren op, geboortedata, född, född den, "
        "födelsedag, födelsedata, "
        "fødselsdag, født, født den, syntynyt, synt, synt aika, syntymäaika, datum narození, "
        "dat nar, narozen, narozena, "
        "dátum narodenia, született, szül, szül idő, születési idő, születési dátum, data nașterii, "
        "născut, născută, "
        "doğum tarihi, doğum, дата рождения, родился, родилась, д р, дата народження, дата на раждане, "  # noqa: RUF001
        "ημερομηνία γέννησης, ημ γέννησης, תאריך לידה, تاريخ الميلاد, "
        "생년월일, 出生年月日, 出生, जन्म तिथि, जन्मतिथि, জন্ম তারিখ, dzimšanas datums, gimimo data, "
        "sünniaeg, "
        "datum rojstva, datum rođenja, ngày sinh, tanggal lahir",
        version="5",
    ),
    Detector(
        "PASSPORT",
        _HIGH,
        "passport, passport number, passport no, passportnumber, passport num, passeport, reisepass, "
        "pasaporte, "
        "passaporto, paspoort, paszport, passport id, passaporte, pass nr, pass no, pass num, "
        "pass nummer, passnr, "
        "passnummer, reisepass nr, reisepassnr, passport nr, passport nos, pasaporte no, "
        "pasaporte num, paspoort nr, "
        "paspoortnummer, paspoortnr, paszport nr, nr paszportu, passeport no, numero de passeport, "
        "passport card, "
        "numero di passaporto, numero de pasaporte, numero do passaporte, passaporte no, ppt no, "
        "reisepassnummer, numéro de passeport, p p no, passaporto n, passaporto nr, passaporto no, "
        "passaporte n, passaporte nº, "
        "pasaporte n, pasaporte nº, nº de pasaporte, nº pasaporte, núm pasaporte, nº do passaporte, "
        "nº passaporte, "
        "passeport n, passeport n°, n° de passeport, n° passeport, no de passeport, passeports, "
        "pasaportes, pasnummer, "
        "pas nr, pasnr, passi, passin numero, passinumero, číslo pasu, cestovní pas, číslo pasu č, "
        "útlevélszám, útlevél, "
        "pașaport, nr pașaport, pasaport, pasaport no, pasaport numarası, паспорт, номер паспорта, "  # noqa: RUF001
        "серия и номер паспорта, "
        "διαβατήριο, αριθμός διαβατηρίου, דרכון, מספר דרכון, جواز السفر, رقم جواز السفر, パスポート, "
        "パスポート番号, "
        "旅券番号, 旅券, 护照, 护照号, 护照号码, 護照號碼, 여권, 여권번호, 여권 번호, पासपोर्ट, "
        "पासपोर्ट नंबर, पासपोर्ट संख्या, "
        "pases nr, paso nr, passi number, putovnica, potni list",
        version="3",
    ),
)

GIVEN_NAMES = word_set("""
    aaliyah aaron abby abigail adam addison adele adrian adriana agatha agnes agnieszka ahmed aida
    aileen aimee aisha alan alana albert alec alejandra alejandro aleksandra alessandro alessia alex
    alexa alexander alexandra alexis alfonso alfred ali alice alicia alina alisha alison allison alma
    alvaro alvin alyssa amanda amara amber amelia amelie amir amit amy ana ananya anastasia anders andre
    andrea andreas andres andrew andrzej angel angela angelica angelina angie anita anja ann anna
    annabel annabelle anne annette annie annika anthony antoine anton antonio april ariana arianna ariel
    arjun arlene armando arnold arthur arturo asher ashley astrid aubrey audrey august austin autumn ava
    avery axel barbara barry beatrice beatriz beau becky belinda bella ben benjamin bernadette bernard
    bernd bernice bertha bessie beth bettina betty beverly bianca bill billy birgit bjorn blake blanca
    bob bobby bonnie boris brad braden bradley brady brandi brandon brandy brenda brent bret brett brian
    brianna brianne bridget brittany brittney brock brody brooke bruce bruna bryan bryce byron caleb
    calvin cameron camille candace candice carl carla carlos carmela carmen carol carolina caroline
    carolyn carrie carter casey cassandra cassidy catalina catherine cathy cecil cecilia celeste celine
    cesar chad charlene charles charlotte chase chelsea cheryl chester cheyenne chiara chidi chloe chris
    christa christi christian christie christina christine christopher cindy claire clara clarence
    claudia clay clayton clement cliff clifford clifton clint clinton clyde cody cole colin colleen
    colton connie connor conrad constance cora corey cory courtney craig cristina crystal curtis cynthia
    daisy dakota dale dallas dalton damian damon dan dana daniel daniela danielle danny dante daphne
    darla darlene darrell darren darryl daryl dave david davide dawn dean deanna debbie debora deborah
    debra deepak delia della demetrius denise dennis derek derrick desiree devin devon dewey dexter
    diana diane diego dieter dina dixie dmitri dolores dominic dominique donald donna donnie dora doreen
    doris dorothy doug douglas drew duane dustin dwayne dwight dylan earl ebony eddie edgar edith edna
    eduardo edward edwin eileen ekaterina elaina elaine eleanor elena eli elias elijah elisa elisha
    elizabeth elke ella ellen ellie elliot elliott elmer elodie eloise elsa elsie elvira emanuel emil
    emilia emilie emilio emily emma emmanuel enrique eric erica erick ericka erik erika erin ernest
    ernesto esmeralda essie esteban esther ethan ethel etienne eugene eugenia eunice eva evan evangeline
    evelyn everett ezra fabian fabio faith fannie fatima fatma faye federica federico felicia felipe
    felix fernando filippo finn fiona flora florence florian floyd frances francesca francis francisco
    franco francois frank frankie franz fred freda freddie frederick freja friedrich gabriel gabriela
    gabriele gabrielle gail garrett garry gary gavin gene genevieve geoffrey george gerald geraldine
    gerard gerardo gerhard gianluca gilbert gina ginger giorgia giorgio giovanni gisela giulia giuseppe
    gladys glen glenda glenn gloria goldie gonzalo gordon grace gracie grant greg gregory greta gretchen
    guadalupe guillaume guillermo gunnar gunther gustavo guy gwen gwendolyn hailey haley hank hanna
    hannah hannelore hans harley harold harriet harry harvey hassan hattie hazel heather hector heidi
    heike heinrich helen helena helga henry herbert herman hiroshi holger holly hope horst howard hubert
    hugh hugo hunter hussein ian ibrahim ida ignacio igor ilaria ines inez ingeborg ingrid ira irene
    iris irma irvin isaac isabel isabella isaiah ivan ivy jack jackie jacklyn jackson jaclyn jacob
    jacqueline jacques jada jaden jaime jake jakub jamal james jamie jan jane janelle janet janette
    janice janie janine jared jasmine jason jasper javier jay jayden jean jeanette jeannie jed jeff
    jeffery jeffrey jeffry jenifer jenna jennifer jenny jens jerald jeremiah jeremy jermaine jerome
    jerri jerry jesse jessica jessie jesus jewel jiho jill jim jimena jimmy joan joann joanna joanne
    joao joaquin jocelyn jody joe joel joey johan johann johannes john johnathan johnathon johnnie
    johnny jolene jon jonah jonathan joni jordan jorg jorge jose josefina joseph josh joshua josiah
    josie joy joyce juan juanita judith judy julia julian juliana julie julien julio julius jun jurgen
    justice justin jutta kaitlin kaitlyn kara karen kari karim karin karina karl karla karsten katarzyna
    kate katherine kathleen kathryn kathy katie katja katrina kayla kaylee keisha keith kelli kellie
    kelly kelsey kelvin ken kendall kendra kenji kenneth kenny kent kerri kerry kerstin kevin khalid kim
    kimberly kira kirk klaus krista kristen kristi kristie kristin kristina kristy krystal krzysztof
    kumar kurt kurtis kwame kyle lacey lamar lana lance landon larissa larry lars latasha latoya laura
    laurel lauren laurent laurie laverne lawanda lawrence layla leah leann lee leigh leila lela leland
    lena leo leon leonard leonardo leroy leslie lester leticia levi lewis liam liliana lillian lillie
    lily lincoln linda lindsay lindsey linnea lionel lisa lloyd logan lois lola lonnie lorena lorenzo
    loretta lori lorraine louie louis louise lowell luca lucas lucia luciano lucie lucille lucinda
    lucius lucy luigi luis luiza luke luther lydia lynn mabel mable mackenzie madeline madelyn madison
    mae magdalena maggie magnus malcolm malgorzata mallory mandy manfred manon manuel marc marcel
    marcella marcello marcelo marci marcia marco marcus marcy margaret margarita margie marguerite maria
    marian mariana marianne maribel maricela marie marilyn marina mario marion marisa marisol marjorie
    marjory mark markus marla marlene marlon marsha marshall marta martha martin martina marvin mary
    maryann mason massimo mateo mathew mathieu mathilde matilda matt matteo matthew matthias mattie
    maude maureen maurice max maximilian maxine maxwell megan meghan mehmet mei melanie melba melinda
    melissa melody melvin mercedes meredith merle mia micah michael michaela micheal michel michela
    michele michelle mickey miguel mike mila mildred milton mindy ming minjun minnie miranda miriam
    misty mitch mitchell mohamed mohammad mohammed moira mollie molly mona monica monika monique monte
    morgan morris moses muhammad muriel mustafa myra myrtle nadia nadine nancy naomi natalia natalie
    natalya natasha nathalie nathan nathaniel neal ned neil nell nellie nelson nettie nicholas nichole
    nick nicola nicolas nicole nigel nikita nikki nikolai nils nina noah noel noelle nolan noor nora
    norbert noreen norma norman norris oksana olena olga olive oliver olivia olivier ollie oluwaseun
    omar opal ophelia ora orlando oscar oskar osvaldo otto owen pablo paige paloma pamela paola paolo
    pascal pat patricia patrick paul paula paulette pauline pearl pedro peggy penelope percy perla perry
    peter petra phil philip philippe phillip phoebe phyllis pierre pietro piotr polly pooja preston
    priya quentin quincy quinn rachel rafael rafaela rahul rainer raj ralf ralph ramiro ramon ramona
    randall randy rania raquel rashad raul ravi ray raymond raymundo reba rebecca reggie regina reginald
    remi renae renata renate renee rex reyna rhoda rhonda ricardo riccardo richard rick ricky rigoberto
    riley rita rob robbie robert roberta roberto robin robyn rocio rocky roderick rodney rodolfo rodrigo
    rogelio roger roland rolf roman ron ronald roni roosevelt rory rosa rosalie rosalind rosario rose
    rosemary ross roxanne roy royce ruben ruby rudiger rudy rufus russell rusty ruth ryan sabine sabrina
    sadie sakura sally salma salvador salvatore sam samantha sammy samuel sandra sandy sanjay santiago
    sara sarah sasha saul savannah scott sean sebastian selena seojun serena sergei sergio seth shana
    shane shannon shari sharon sharron shaun shauna shawn sheila shelby sheldon shelly sheree sheri
    sherman sherri sherry sheryl shirley sierra sigrid silke silvia simon simona skylar sofia sondra
    sonia sonja sophia sophie spencer stacey stacie stacy stan stanley stefan stefanie stefano stella
    stephanie stephen sterling steve steven stewart stuart sue summer sunita susan susanne susie suzanna
    suzanne sven svetlana sydney sylvia sylvie tabitha takashi tamara tami tammy tanner tanya tara tasha
    tatiana taylor ted teresa terri terry tessa thelma theodore theresa thiago thierry thomas tia
    tiffany tim timothy tina tobias todd tom tomas tomasz tommie tommy toni tony tonya tori torsten
    tracey traci tracie tracy travis trent trevor tricia trina trisha tristan troy tyler tyrone tyson
    udo ulrich ulrike ursula ute uwe valentina valeria valerie van vanessa vera verna vernon veronica
    vicente vicki vicky victor victoria vijay vince vincent vinicius viola violet virginia vivian
    vivienne vladimir volker wade wallace walter wanda warren wayne wei wendell wendy werner wesley
    whitney wilbur wilfred wilhelm will william willie wilma winifred winston wolfgang woodrow xavier
    xiao ximena yadira yan yasmin yesenia ying yoko yolanda yong yuki yusuf yvette yvonne zachary
    sonya mariah darin ronnie zachery zane zhang zoe zoey
    """)
"""Common given names of several countries, in lower case and without accents."""

SURNAMES = word_set("""
    abbott acevedo acosta adams aguilar ahmed alexander ali allen allison almeida alvarez anderson
    andersson andrews anthony archer armstrong arnold ashley atkins atkinson austin avery avila ayala
    ayers bailey baird baker bakker baldwin ball ballard banerjee banks barajas barber barker barnes
    barnett barrera barrett barron bartlett barton bass bates bauer beard beasley beck becker bell
    beltran benitez benjamin bennett benson bentley bernard berry best bianchi bishop black blackburn
    blackwell blair blake blanchard blankenship blevins bolton bond bonilla booker booth bose bowen
    bowers bowman boyd boyer boyle bradford bradley bradshaw branch brandt braun bray brennan brewer
    bridges briggs bright brock brooks brown browning bruce bryant buchanan buck buckley bullock burch
    burgess burke burnett burns burton bush butler byrd cabrera cain calderon caldwell calhoun callahan
    camacho cameron campbell cannon cantrell cantu cardenas carey carlson carney carpenter carr carroll
    carson carter carvalho casey cash castaneda castillo castro cervantes chambers chan chandler chaney
    chang chapman charles chase chavez chen cherry choi chowdhury christensen christian church cisneros
    clark clarke clay clayton clements cline cobb cochran coffey cohen cole coleman collins colombo
    colon combs compton conley conner conrad conti contreras conway cook cooke cooley cooper copeland
    cordova correa cortes cortez costa cowan cox craig crane crawford crosby cross cruz cuevas cummings
    cunningham curry curtis dalton daniel daniels das daugherty davenport davidson davies davila davis
    day dean decker delacruz deleon delgado dennis devries diaz dickerson dickson dillon dixon dodson
    dominguez donaldson donovan dorsey dougherty douglas downs doyle drake dubois dudley duffy duke
    duncan dunn duran durand durham dyer eaton edwards elliott ellis ellison english erickson eriksson
    escobar espinoza esposito estes estrada evans everett farmer farrell faulkner ferguson fernandez
    ferrari ferreira fields figueroa finley fischer fisher fitzgerald fitzpatrick fleming fletcher
    flores flowers floyd flynn foley fontana forbes ford foreman foster fowler fox francis frank
    franklin frazier frederick freeman french friedman fritz frost fry frye fuentes fuller gaines
    gallagher gallegos gallo galloway gamble garcia gardner garner garrett garza gates gay gentry george
    gibbs gibson gilbert giles gill gillespie gilmore glass glenn glover golden gomes gomez gonzales
    gonzalez good goodman goodwin gordon gould graham grant graves gray greco green greene greer griffin
    griffith grimes gross guerra guerrero gupta gutierrez guzman haas hahn hale haley hall hamilton
    hammond hampton hancock haney hanna hansen hanson hardin harding hardy harmon harper harrell
    harrington harris harrison hart hartman hartmann harvey hatfield hawkins hayden hayes haynes hays
    heath hebert henderson henry henson herman hernandez herrera herring hess hester hickman hicks
    higgins hill hinton ho hobbs hodge hodges hoffman hofmann hogan holder holland holloway holmes holt
    hood hoover hopkins horn horne horton house houston howard howe howell hubbard huber hudson huff
    huffman hughes hull humphrey hunt hunter hurley hurst hussain hutchinson huynh ibrahim ingram irwin
    ivanov iyer jackson jacobs jacobson james jansen jarvis jefferson jenkins jennings jensen jimenez
    johansson johns johnson johnston jones jordan joseph joyce juarez kaminski kane kapoor karlsson
    kaufman keith keller kelley kelly kemp kennedy kent kerr key khan kim king kirby kirk klein knight
    kobayashi koch kowalski kramer krause kruger kumar lamb lambert landry lane lang lange lara larsen
    larson larsson lawrence lawson leach leblanc lee lefebvre lehmann leon leonard leroy lester levine
    levy lewandowski lewis li lima lin lindsey little liu livingston lloyd long lopez love lowe lowery
    lozano lu lucas lucero luna lynch lyons macdonald macias mack madden maddox mahoney maier maldonado
    malik malone mann marino marks marquez marsh marshall martin martinez mason massey mathews mathis
    matthews maxwell may mayer maynard mayo mays mcbride mccall mccarthy mccarty mcclain mcclure
    mcconnell mccormick mccoy mccullough mcdaniel mcdonald mcdowell mcfarland mcgee mcguire mcintosh
    mcintyre mckay mckee mckenzie mckinney mcknight mclaughlin mclean mcmahon mcmillan mcpherson meadows
    medina mehta mejia melendez melton mendez mendoza mercado mercer merritt meyer meyers middleton
    miles miller mills mitchell montes montgomery montoya moody moon mooney moore mora morales moreau
    moreno morgan morris morrison morrow morse morton moses mosley moss mueller mukherjee mullen muller
    mullins munoz murillo murphy murray myers nair nakamura nash navarro neal nelson neumann newman
    newton nguyen nichols nielsen nilsson nixon noble nolan norman norris norton novak nowak nunez
    obrien ochoa oconnell oconnor odom odonnell oliveira oliver olson olsson oneal oneill orozco orr
    ortega ortiz osborn osborne owens pace pacheco padilla page palmer park parker parks parrish parsons
    patel patrick patterson patton paul payne pearson peck pena pennington pereira perez perkins perry
    persson peters peterson petit petrov pham phelps phillips pierce pineda pittman pitts pollard ponce
    poole pope popov porter potter potts powell powers pratt preston price prince proctor pruitt pugh
    quinn quintero ramirez ramos ramsey randall randolph rangel rao rasmussen ray raymond reddy reed
    reese reeves reid reilly reyes reyna reynolds rhodes ribeiro ricci rice rich richard richards
    richardson richmond richter riddle riggs riley rios ritter rivas rivera robbins roberts robertson
    robinson robles rocha rodgers rodrigues rodriguez rogers rojas roman romano romero rosales rosario
    rose ross rossi roth roux rowe rowland roy rubio ruiz rush russell russo ryan salas salazar salinas
    sampson sanchez sanders sandoval santiago santos sato saunders savage sawyer schaefer schafer
    schmidt schmitt schneider schroeder schubert schultz schulz schwartz schwarz scott sellers serrano
    sexton shaffer shannon sharma sharp shaw shea shelton shepard shepherd sheppard sherman shields
    short silva simmons simon simpson sims singh singleton skinner sloan smirnov smit smith snow snyder
    sokolov solis solomon sosa soto sousa souza sparks spears spencer stafford stanley stanton stark
    steele stein stephens stephenson stevens stevenson stewart stone strickland strong stuart suarez
    sullivan summers sutton suzuki svensson swanson sweeney sykes takahashi tanaka tapia tate taylor
    terrell terry thomas thompson thornton torres townsend tran travis trevino trujillo tucker turner
    tyler underwood valdez valencia valentine valenzuela vance vandenberg vang vargas vasquez vaughan
    vaughn vazquez vega velasquez velazquez velez verma villa villanueva villarreal villegas vincent
    visser vogel vu wade wagner walker wall wallace waller walls walsh walter walters walton wang ward
    ware warner warren washington watanabe watkins watson watts weaver webb weber weiss welch wells west
    wheeler whitaker white whitehead whitney wiggins wilcox wiley wilkerson wilkins wilkinson williams
    williamson willis wilson winkler winters wise wisniewski wojcik wolf wolfe wong wood woodard woods
    woodward wright wu wyatt yadav yamamoto yang yates yoder york young yu zamora zavala zhang zhao
    zielinski zimmerman zimmermann zuniga
    """)
"""Common family names, in lower case and without accents."""

PLACES = phrase_set("""
    london, paris, berlin, madrid, rome, vienna, lisbon, dublin, brussels, amsterdam, copenhagen, stockholm,
    oslo, helsinki, warsaw, prague, budapest, athens, zurich, geneva, milan, munich, hamburg, frankfurt,
    cologne, barcelona, valencia, seville, porto, lyon, marseille, nice, toulouse, manchester, birmingham,
    liverpool, leeds, glasgow, edinburgh, bristol, cardiff, belfast, moscow, kyiv, istanbul, ankara,
    new york, los angeles, chicago, houston, phoenix, philadelphia, san antonio, san diego, dallas, austin,
    jacksonville, fort worth, columbus, charlotte, indianapolis, san francisco, seattle, denver, washington,
    boston, nashville, el paso, detroit, portland, las vegas, memphis, louisville, baltimore, milwaukee,
    albuquerque, tucson, fresno, sacramento, mesa, kansas city, atlanta, omaha, raleigh, miami, oakland,
    minneapolis, tulsa, tampa, arlington, new orleans, cleveland, honolulu, anaheim, lexington, stockton,
    saint paul, cincinnati, pittsburgh, greensboro, lincoln, orlando, irvine, newark, durham, plano,
    st louis, madison, jackson, jefferson city, springfield, salem, albany, trenton, dover, augusta, helena,
    pierre, montgomery, lansing, olympia, annapolis, juneau, santa fe, boise, cheyenne, bismarck, concord,
    carson city, buffalo, rochester, syracuse, savannah, charleston, richmond, norfolk, houston, aurora,
    chandler, glendale, hialeah, garland, laredo, irving, chesapeake, florence, victoria, sydney, melbourne,
    brisbane, perth, adelaide, auckland, wellington, hamilton, toronto, montreal, vancouver, ottawa, calgary,
    edmonton, winnipeg, quebec, halifax, kingston, tokyo, osaka, kyoto, seoul, beijing, shanghai, hong kong,
    singapore, bangkok, hanoi, manila, jakarta, delhi, mumbai, kolkata, chennai, bangalore, hyderabad,
    karachi, lahore, dhaka, kabul, tehran, baghdad, riyadh, dubai, doha, jerusalem, tel aviv, beirut,
    damascus, cairo, alexandria, casablanca, tunis, algiers, lagos, accra, nairobi, addis ababa, kampala,
    dakar, johannesburg, cape town, durban, pretoria, mexico city, guadalajara, monterrey, havana, bogota,
    medellin, lima, quito, caracas, santiago, buenos aires, cordoba, rosario, montevideo, sao paulo,
    rio de janeiro, brasilia, salvador, recife, england, scotland, wales, ireland, france, germany, spain,
    italy, portugal, austria, switzerland, belgium, netherlands, denmark, sweden, norway, finland, poland,
    hungary, greece, turkey, russia, ukraine, china, japan, korea, india, pakistan, israel, jordan, egypt,
    morocco, nigeria, kenya, south africa, brazil, argentina, chile, peru, colombia, mexico, canada, cuba,
    united states, united kingdom, australia, new zealand, georgia, chad, virginia, carolina, dakota,
    north carolina, south carolina, north dakota, south dakota, west virginia, california, texas, florida,
    ohio, michigan, illinois, indiana, iowa, kansas, kentucky, louisiana, maine, maryland, massachusetts,
    minnesota, mississippi, missouri, montana, nebraska, nevada, new hampshire, new jersey, new mexico,
    oklahoma, oregon, pennsylvania, rhode island, tennessee, utah, vermont, wisconsin, wyoming, alabama,
    alaska, arizona, arkansas, colorado, connecticut, delaware, hawaii, idaho
    """)
"""Well-known cities, states and countries; some are given names and surnames too."""

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
"""Terms for ethnic groups as used by censuses. In a text only near a hotword: most are ordinary words."""

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
"""Endings of English street names, as listed by the United States Postal Service."""

SURE_STREET_WORDS = (
    "street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|square|terrace|"
    "circle|parkway|pkwy|highway|hwy|crescent"
)
"""Those endings that hardly ever mean anything else after a number and a capital letter."""
