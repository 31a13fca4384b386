"""The settings of every host, with their defaults. What each one means, and its bounds: sipstack/settings.py.

Override per environment in group_data/<inventory>.py, per role in group_data/<group>.py, or for one host in
the inventory.
"""

# --- SIP ---------------------------------------------------------------------------------------------
sip_domain = "vss.internal"
sip_port = 5060
# Every phone has been told these two: a change on hosts that serve is taken for a mistake unless this says otherwise.
sip_allow_move = False
# The proxies tell each other here what registers; open to each other only.
proxy_peer_port = 5062

# --- slots -------------------------------------------------------------------------------------------
# Which numbers a kind may use; several ranges are separated by commas.
slot_numbers_auto = "6001-6999"
slot_numbers_mf = "7001-7999"
slot_numbers_ls = "8001-8999"
# Which of them exist: numbers and ranges, such as ["6001-6010", 6050].
slots_auto = ["6001-6010"]
slots_mf = ["7001-7020"]
slots_ls = ["8001-8010"]
# Many slots: a CSV file beside deploy.py with the columns number,password (no password: one is generated).
slots_csv = ""
# More than half of all slots disappearing in one run is taken for a mistake unless this says otherwise.
slots_allow_mass_removal = False
# Nobody knows a password that was generated but who has the state (.state/): a run that would write another one has not
# got it, unless this says otherwise.
slots_allow_new_passwords = False

# --- registrations -----------------------------------------------------------------------------------
register_default_seconds = 3600
register_min_seconds = 60
register_max_seconds = 7200
register_max_contacts = 10
# False: accounting shows a binding that is new or removed, and not each of its refreshes.
register_account_refreshes = True

# --- calls -------------------------------------------------------------------------------------------
call_ring_seconds = 120
call_max_seconds = 14400
# A call whose phones have died counts for its slot until it ends. Few phones on hold send nothing at all for half an
# hour: most send RTCP, or music.
call_silence_seconds = 1800
# Numbers outside the platform, as Asterisk may be asked for them; 9xxx are Asterisk's own services.
call_outside_pattern = "^([+]?[0-9]{2,15})$"
# What costs by the minute, and whoever sends calls there earns: satellites and international networks (+87x, +881 to
# +883, +979), and the numbers for that in North America, Russia, Britain, Germany and France. Empty: all are open.
call_premium_pattern = (
    "^(([+]|00)(1900|1976|7803|7809|449|49900|49137|3389|87[0-9]|88[1-3]|979)|1900|880[39]|0900|0137)"
)
# A slot that needs more than this is not a phone, or is not in the hands of its owner.
call_max_at_once = 30
call_max_outside_a_day = 500
nat_keepalive_seconds = 20

# --- limits ------------------------------------------------------------------------------------------
# Of one address. A hundred times as many messages from one where phones of the platform are, for there may be many.
limit_requests_a_second = 50
limit_strangers_a_minute = 60
limit_failures_a_minute = 10
# Of one slot.
limit_registrations_a_minute = 1200
limit_messages_a_minute = 120
limit_connections = 256
ban_seconds = 3600
# Networks that are never banned, such as ["192.0.2.0/24"]: the operator's own.
trusted_networks = []

# --- rollouts ----------------------------------------------------------------------------------------
# A release is tried on this port beside the running one before it may take over.
trial_port = 5064
# Before a proxy restarts, calls that still ring may be answered; those that ring for longer are lost.
drain_seconds = 60
# Before an rtpengine or an Asterisk restarts, its calls may end, if there is another one for new calls.
service_drain_seconds = 120
releases_kept = 5

# --- Kamailio ----------------------------------------------------------------------------------------
kamailio_debug = 3
kamailio_children = 4
# 0: as much as the slots, these bindings and calls need (sipstack/memory.py), 256 at least.
kamailio_shm_mb = 0
kamailio_bindings = 0
kamailio_calls = 1000
kamailio_pkg_mb = 16

# --- PostgreSQL --------------------------------------------------------------------------------------
# Empty: the host of group `databases`. An address: the operator's own server.
postgres_host = ""
postgres_port = 5432
postgres_db = "vss_db"
postgres_user = "vss"
postgres_owner = "vss_owner"
# The superuser that creates the roles and the database. Empty, with the operator's own server: they exist.
postgres_admin = "postgres"

# --- media -------------------------------------------------------------------------------------------
# More rtpengines than group `media` has, as address:port.
rtpengines = []
rtpengine_port = 2223
rtp_port_min = 30000
rtp_port_max = 39999
# RTP is taken from an address that the signalling has named and from no other; networks, such as those of a provider's
# media servers, from which it is taken without that. ["0.0.0.0/0"]: from everybody.
rtp_open_networks = []

# --- Asterisk ----------------------------------------------------------------------------------------
# More gateways than group `pbx` has, as address:port.
gateways = []
gateway_answer_ms = 2000
asterisk_port = 5080
asterisk_rtp_port_min = 20000
asterisk_rtp_port_max = 29999
# Where the demo Asterisk sends external numbers, as address:port; empty: its own far end answers them.
asterisk_provider = ""

# --- hosts -------------------------------------------------------------------------------------------
# Where images start: auto (pull, else bootstrap), pull, bootstrap (from the mirror the host uses) or archive.
base_image_source = "auto"
base_image = "debian:trixie-slim"
base_image_archive = ""
# A new date rebuilds the images, and so takes the security updates since the last one.
packages_as_of = "2026-11-23"
disk_free_gb = 4
log_mb = 10
log_files = 5
# True: SIP, RTP, SSH (on the ports that it has) and what follows can be reached from outside, and nothing else.
firewall_closed = True
# What else is open, such as "9100/tcp", or to some only: "9100/tcp 192.0.2.0/24".
firewall_open_ports = []
# Bounds for each container, such as "1g" and 2.0. Memory: empty is what each is made for by these settings, "none" no
# bound; CPU: 0 is none. Some hosts cannot keep them.
container_memory = ""
container_cpus = 0.0

# --- verification ------------------------------------------------------------------------------------
# The demo Asterisk's echo service. With another number, any sound counts as proof.
verify_external_number = "9002"
# Numbers of your own that a proof calls until they ring, such as ["7010", "+4930123456"]; phones do ring for a moment.
verify_numbers = []
# A call that waits for a database in its way takes longer; on a machine that has time, a call takes 10 to 40 ms.
verify_setup_ms = 300

# --- secrets -----------------------------------------------------------------------------------------
# An age-encrypted TOML or JSON file with the operator's own secrets; empty: environment, or generated once.
secrets_file = ""
