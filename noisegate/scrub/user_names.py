"""What a user's name is, and what only stands where names do: system accounts, words of prose."""

import re
from functools import lru_cache

from noisegate.scrub.rule import Span, found, words
from noisegate.scrub.values import is_placeholder

SYSTEM_ACCOUNTS = words("""
    git svn hg root nobody daemon bin sys sync games man lp mail news uucp proxy www-data
    backup list irc gnats _apt sshd messagebus syslog ntp dbus polkitd tss uuidd tcpdump
    systemd system anonymous anon
""")
SERVICE_ACCOUNTS = words("""
    postgres mysql mariadb nginx apache apache2 httpd redis rabbitmq mongodb mongod elasticsearch
    kibana logstash kafka zookeeper hdfs yarn hive spark tomcat jenkins grafana prometheus
    haproxy postfix dovecot named chrony rpc dnsmasq avahi gdm lightdm
""")
"""Accounts of servers: kept, but where somebody tries to log in as one."""
"""Accounts of operating systems, which are nobody's: kept."""

_NOT_NAMES = words("""
    a an the and any are as at be been but by can cannot for from has have if in is it its no
    not of on or that this to was were will with unknown invalid error failed failure success
    null none nil true false undefined empty missing required requests request sessions
    session count total rate latency traffic experience experiences facing space agent agents
    input limit limits quota id ids name names group groups login logout logins password
    authentication authorization data mode account accounts accounting table interface process
    processes code defined impact journey journeys pool service services namespace per up down
    out after before during when while who which does did had may might must should do
    connections connection authenticated logged denied disabled locked exists already attempted
    attempt attempts could would more than all some many every each other another new old yes y
    n arn sid uid gid still created updated removed changed revoked granted attribute attributes
    context mapping mappings creation deletion what where why how whose please tell show give
    hello hi thanks
""")

_GIVEN_NAMES = words("""
    aaron abdul abigail adam adama adele adriana agnes ahmad ahmed aiko aisha akira alan albert
    alberto alejandro aleksandr alena alessandro alex alexander alexandra alexei alexis alfredo
    ali alice alicia alina alisha alison allison alvaro amanda amelie amina amir amira amit amy
    ana anders andrea andreas andrei andrew andrzej andy angela anil anita anja ankit anna anne
    annika anthony antoine anton antonio anya ariel arjun arthur artur asha ashley astrid ayesha
    barbara bart bartosz beatriz becky ben benjamin bernard bernd betty bianca bilal bjorn bob
    bogdan boris bradley brandon brenda brian brigitte bruno camila camille carl carla carlo
    carlos carmen carol caroline carolyn catherine cecilia charles charlie chen chiara chidi
    chloe chris christian christina christine christoph christopher claire clara claudia colin
    connor craig cristina cynthia daisuke dan daniel daniela danielle danny darren dave david
    davide dawid deborah debra deepak denis dennis derek diana diane diego dieter dimitri dina
    dirk divya dmitri dominik donald donna dorothy douglas dylan eduardo edward ekaterina elena
    eleni eli elias elif elin elisa elizabeth ella ellen emil emilia emilio emily emma emmanuel
    enrique eric erik erika ernesto esther ethan eugene eva evan evelyn ewa ewan fabian fabio
    farah fatima fatma federico felipe felix fernanda fernando filip fiona florian francesca
    francesco francois frank franz fred frederik freya gabriel gabriela gareth gary gavin george
    gerald gerard giovanni giulia giuseppe gloria gonzalo greg gregory greta grzegorz guillaume
    gunnar gustavo hamza hanna hannah hans harald haruto hassan heather hector heinz helen
    helena helga henrik henry hiro hiroshi holger hugo hussein ian ibrahim ilya imran ines
    ingrid irina isaac isabel isabella isla ivan ivana jacek jack jacob jacqueline jaime jake
    jakob jakub jamal james jan jana jane janet jasmine jason javier jean jeff jeffrey jennifer
    jens jeremy jerry jessica jesus jiho jim jing joan joanna joao jochen joe joel johan johanna
    johannes john jonas jonathan jorge jose josef joseph josh joshua juan juergen julia julian
    julie julien jun jurgen justin kamal kamil karen karim karin karl karolina katarina kate
    katharina katherine kathleen kathryn katie katrin kazuki keith kelly kenji kenneth kenta
    kevin kim kimberly klaus kofi konstantin kris kristina krzysztof kumar kurt kwame kyle
    lakshmi larry lars laura lauren laurent lea leila lena leo leon leonardo leticia liam lin
    linda linh linus lisa ljubica lorenzo louis louise luca lucas lucia lucie ludwig luis lukas
    lukasz maciej magda magdalena mahmoud malik manuel manuela marc marcel marcin marco marcos
    marek margaret maria mariam mariana marie marina mario marius markus marta martha martin
    martina mary mateo mateusz mathias matt matteo matthew matthias maurice maxim megan mehmet
    melanie melissa micah michael michal michelle miguel mike mikhail mila milos miriam mohamed
    mohammad mohammed monica monika morgan moritz muhammad mustafa nadia nancy naomi natalia
    natalie natasha nathan neha neil nia nicholas nick nico nicola nicolas nicole niels nikhil
    nikita nikolai nina nisha noah nora norbert oleg olga oliver olivia omar oscar otto pablo
    pamela paolo patricia patrick patrik paul paula paulo pavel pawel pedro peter petr petra
    philip philippe phoebe pierre pilar piotr pooja priya rachel rafael rahul raj ralf ramon
    rania ravi raymond rebecca renata rene ricardo richard rita robert roberto rodrigo roger
    roland roman ronald rosa ross ruth ryan ryota sabine sadia sakura salma sam samantha samir
    samuel sana sandeep sandra sanjay santiago sara sarah sasha satoshi scott sean sebastian
    selin serge sergei sergey sergio shane sharon shirley shreya silvia simon simone sneha sofia
    sonia sophie soren stefan stefano stephanie stephen steve steven sunil suresh susan susanne
    sven svetlana sylvia szymon takashi tamara tanja tanya tariq tatiana teresa theo theresa
    thiago thomas thorsten tiago tim timothy tobias todd tom tomas tomasz tony tracy tuan tyler
    ulrich uwe valentina valeria vanessa vera veronica vicente victor victoria vijay vikram
    viktor vincent vladimir walter wanda wei wendy werner william wolfgang xavier xin yan yara
    yasmin yoko yosef youssef yuan yui yuki yuri yusuf yvonne zachary zainab zara zeynep zhang
    zoe zofia zoltan
""")
"""Where almost anything may stand, as in `owned by`, only these are names, and `first.last`."""

_SURNAMES = words("""
    abe adams adeyemi aguilar ahmed allen almeida alvarez andersen anderson arslan aydin bailey
    baker bakker banerjee barbosa barnes bauer becker bell bennett berg bernard bianchi brooks
    brown bruno butler campbell carter carvalho castillo chan chang chatterjee chavez clark
    collins conti cooper costa cruz davies davis demir diaz duarte dubois dupont edwards
    esposito evans farah fernandes fernandez ferrari ferreira fischer fisher flores foster
    fournier garcia georgiou gomes gomez gonzales gonzalez graham greco green griffin guerrero
    gupta gutierrez haddad hall hansen harris hassan hayes henderson hernandez herrera hill
    hoffmann horvat howard huang hughes hussain ibrahim ito ivanov iyer jackson jain jansen
    jansson jenkins jensen jimenez johansson johnson jones joshi kaiser kapoor kato kaya kelly
    khan kim klein kobayashi koch kovac kowalczyk kowalski krause kumar lambert larsen larsson
    lee lefebvre lehmann lewis li lindholm lindqvist liu lombardi lopez marchetti marino martin
    martinez martins mayer mehta mendoza meyer miller mishra mitchell moore morales moreau
    moreno morgan morris mueller muller murphy murray nakamura navarro nelson nguyen nielsen
    nikolaidis novak nowak okafor okoye oliveira olsen olsson ortiz osei owens ozturk
    papadopoulos parker patel pereira perez petersen peterson petrov pham phillips popescu popov
    powell quinn ramirez ramos rao reddy reyes richardson richter rivera roberts robinson
    rodrigues rodriguez rogers romano rossi ruiz russell russo sahin saito salazar sanchez
    sanders santos sato schmidt schmitz schneider schulz schwarz scott sharma silva simmons
    simpson singh smirnov smith sokolov sousa stewart suzuki svensson takahashi tanaka taylor
    thomas thompson torres tran tremblay turner vargas vasquez volkov wagner walker wang ward
    watanabe watson weber weiss werner white williams wilson wojcik wood wright yamamoto yang
    yilmaz young zhang zhao zimmermann
""")
"""Behind one letter these make a login: `jdoe`; from the commonest ones of many countries."""

_WORDS = words("""
    small stall shall spark kchan
""")
"""Words that are a letter and a surname, too."""

_SUFFIXES = words("""
    service socket timer target com org net io local internal svc sh py js go rb yaml yml json
    controller operator manager exe conf default prod
""")

NAME = r"[0-9A-Za-z_][\w.@+$-]{0,63}"
"""A bare name, from its first character on; may end in punctuation of the sentence."""
DOMAIN_TAIL = r"(?:\\{1,2}[\w.$-]{1,64})?"
"""The name itself, where `NAME` was a Windows domain."""


@lru_cache(maxsize=4096)
def is_name(name: str) -> bool:
    """Whether a word that stands where names stand can be one."""
    lower = name.lower()
    return not (
        lower in SYSTEM_ACCOUNTS
        or lower in SERVICE_ACCOUNTS
        or lower in _NOT_NAMES
        or lower.startswith(("system:", "systemd-", "s-1-", "0x"))
        or lower.endswith(".exe")
        or is_placeholder(name)
        or not re.search(r"\w", name)
    )


@lru_cache(maxsize=4096)
def is_person(name: str) -> bool:
    """Whether a word looks like the name of a person by itself: `jane`, `jane_doe`, `j.doe`."""
    parts = re.split(r"[._-]", name.lower().rstrip("0123456789"))
    if len(parts) > 3 or not all(map(str.isalpha, parts)):
        return False
    dotted = re.fullmatch(r"[A-Za-z]{1,32}\.[A-Za-z]{2,32}", name) and parts[-1] not in _SUFFIXES
    return parts[0] in _GIVEN_NAMES or bool(dotted) or (len(parts) == 1 and _is_login(parts[0]))


def _is_login(word: str) -> bool:
    """Whether a word is made of a person's names: `janed`, `jdoe`."""
    given = len(word) > 4 and word[-1] not in "sey" and word[:-1] in _GIVEN_NAMES
    return given or (len(word) > 4 and word[1:] in _SURNAMES and word not in _WORDS)


def named(match: re.Match[str]) -> Span | None:
    """The span of a match's name, without the full stop of its sentence, if it can be a name."""
    start, end = found(match)
    name = match.string[start:end].rstrip(".:-")
    if "@" in name and name.partition("@")[0].lower() in SYSTEM_ACCOUNTS:
        return None
    return (start, start + len(name)) if is_name(name) else None


def of_person(match: re.Match[str]) -> Span | None:
    """As `named`, in a place where only a person's name tells a user from other things."""
    span = named(match)
    return span if span and is_person(match.string[slice(*span)]) else None
