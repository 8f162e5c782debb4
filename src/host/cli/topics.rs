//! The catalogue of errors: ids, exit codes and the long story behind each.
//!
//! Exit codes come in families, as minikube's: 10s the program, 20s resources,
//! 30s the host, 40s the internet, 50s the machine driver, 60s images, 70s the
//! laptop's own network, 80s the guest, 100s the control plane. The last digit is
//! the kind: 1 conflict, 2 timeout, 3 not running, 4 usage, 5 not found,
//! 6 unsupported, 7 permission, 8 configuration, 9 unavailable.

/// One kind of error.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    /// Stable id.
    pub id: &'static str,
    /// Exit code of the process.
    pub exit: u8,
    /// What it means and what to do, in some sentences.
    pub story: &'static str,
}

/// A fault of Cadet itself.
pub const INTERNAL: Topic = Topic {
    id: "PROGRAM_INTERNAL",
    exit: 10,
    story: "Cadet met something it did not expect. That is a fault of Cadet, not yours. Running the \
            command again is safe: every command can be repeated. If it stays, please report it \
            with the output of `cadet doctor` and `cadet logs --machine`.",
};

const fn topic(id: &'static str, exit: u8, story: &'static str) -> Topic {
    Topic { id, exit, story }
}

/// Every topic, by family.
pub const TOPICS: &[Topic] = &[
    INTERNAL,
    topic(
        "PROGRAM_INTERRUPTED",
        2,
        "You pressed Ctrl-C, or the terminal went away. Nothing is lost: \
        each step of `cadet start` is either done or not, and the next `cadet start` goes on with the \
        first step that is not done. A machine that was already booting keeps booting.",
    ),
    topic(
        "PROGRAM_USAGE",
        14,
        "The words of the command do not fit together: an unknown flag, a \
        missing value, or a value out of its range. `cadet COMMAND --help` lists what there is, with \
        examples.",
    ),
    topic(
        "LESSON_UNKNOWN",
        15,
        "There is no lesson of that name. `cadet tutorial` lists all. Lessons lie beside the program \
        or in its sources; CADET_TUTORIALS names another folder, with one folder per lesson in it.",
    ),
    topic(
        "LESSON_EXISTS",
        11,
        "`cadet tutorial new` and `import` write a new folder and never over an old one. Choose \
        another name, or move what is there.",
    ),
    topic(
        "LESSON_INVALID",
        18,
        "A lesson's files have mistakes, so it is not played: half a lesson teaches less than none. \
        `cadet tutorial lint NAME` tells each with file, line and what to do; tutorials/README.md \
        describes the format.",
    ),
    topic(
        "LESSON_NOT_STARTED",
        13,
        "The command is about the lesson you are in, and you are in none. `cadet tutorial` lists \
        them and lets you choose; `--lesson NAME` names one.",
    ),
    topic(
        "LESSON_OPEN",
        11,
        "A lesson is open in another terminal with the same profile. Both would keep progress, and \
        the later one would win, so there is one at a time. What you want to do can be done there \
        with a key. When that terminal is closed, however it is closed, the lesson is free again.",
    ),
    topic(
        "LESSON_WORLD",
        19,
        "The lesson could not go on because something around it failed: the cluster, the machine, \
        the lesson folder, the disk. Your progress up to the last completed step is kept; the same \
        command goes on from there.",
    ),
    topic(
        "LESSON_FAILED",
        19,
        "A lesson was played unattended and did not do what its text promises: a step did not \
        complete in time, a mistake was not noticed, or its reason was not the one the author \
        wrote. The lines above say which step. With `--keep` the cluster stays as it was then.",
    ),
    topic(
        "LESSON_PROGRESS",
        38,
        "What was kept of your progress in one lesson cannot be read: it was damaged, or another \
        version of Cadet wrote it. Other lessons are not touched. `cadet tutorial reset --lesson \
        NAME` begins that one anew and leaves the old text on the disk beside the records.",
    ),
    topic(
        "LESSON_CLUSTER",
        28,
        "The lesson needs more nodes than this cluster has. The other lessons work on one node. A \
        further node is any Linux machine with Docker on which `cadet-node agent` runs and joins \
        this cluster.",
    ),
    topic(
        "RESOURCE_CPUS",
        24,
        "The machine cannot have that number of processors: at least 1, and not \
        more than the laptop has. Several machines may share them.",
    ),
    topic(
        "RESOURCE_MEMORY",
        24,
        "The machine cannot have that much memory. The smallest that runs a \
        lesson is 768 MiB; what is left for the laptop itself should be at least 512 MiB. Write sizes \
        as 2g, 1536m or plain MiB.",
    ),
    topic(
        "RESOURCE_NODES",
        24,
        "A profile has at least one machine and at most nine: `cadet start --nodes 3`, `cadet node \
        add`. Each is a virtual machine of its own, so their memory adds up; 768 MiB each is enough \
        for most lessons.",
    ),
    topic(
        "RESOURCE_DISK",
        24,
        "The size of the disk is out of range. It is a virtual size: the file on \
        the laptop grows only as the cluster writes. The smallest is 4g, the largest 1024g.",
    ),
    topic(
        "RESOURCE_FIXED",
        21,
        "Processors and memory can change while the machine is off (`cadet stop --poweroff`), and \
        `cadet disk grow 40g` makes the disk of a running machine larger; a disk cannot shrink, and a profile's image cannot change. \
        Use another profile (`-p NAME`), or delete this one.",
    ),
    topic(
        "HOST_DISK_FULL",
        31,
        "A write failed because the disk is full. Nothing half-written is kept. \
        Free some space, or put the Cadet home on a bigger disk with CADET_HOME. A machine that found \
        no room for a write stands still until there is some: `cadet start` lets it go on where it was.",
    ),
    topic(
        "HOST_PROFILE_BUSY",
        31,
        "Another cadet command is changing the same profile at this moment. \
        Two at once could spoil each other's work, so the second one waits for you to decide. When the \
        first has ended, however it ended, the lock is gone by itself.",
    ),
    topic(
        "HOST_NOT_READABLE",
        37,
        "A file of the Cadet home cannot be read or written. The usual \
        reasons: the home lies on a read-only disk, or belongs to another user (after a `sudo`). \
        CADET_HOME chooses another place.",
    ),
    topic(
        "HOST_STATE_CORRUPT",
        38,
        "The small database in which Cadet keeps its records does not open. \
        Your machines and their disks are untouched. `cadet doctor --fix` puts the damaged file aside \
        and rebuilds the records from the copies kept beside each profile; it deletes nothing.",
    ),
    topic(
        "HOST_KUBECONFIG_INVALID",
        38,
        "Your kubeconfig is not valid YAML or has a shape kubectl \
        would refuse. Cadet does not touch a file it cannot read. The cluster itself is fine, and \
        `cadet kubectl` works without that file.",
    ),
    topic(
        "HOST_NODE_PROGRAM_MISSING",
        35,
        "`cadet` carries the guest's program `cadet-node` into the \
        machine and expects it beside itself. `./scripts/up` and `./scripts/build-guest` build both; \
        CADET_NODE_BINARY names another place.",
    ),
    topic(
        "HOST_KUBECTL_MISSING",
        35,
        "There is no kubectl on your PATH that fits, and none could be fetched. Cadet works with \
        every kubectl from 1.27 on. `cadet kubectl` fetches one that fits by itself, checks it \
        against its publisher's checksum and keeps it in the cache; CADET_KUBECTL_MIRROR names \
        another place to fetch from, laid out as https://dl.k8s.io/release is.",
    ),
    topic(
        "HOST_CLOCK",
        38,
        "This computer's clock is far from the time it is. Certificates then count as not valid yet \
        or as expired, and every download and every sign-in fails for a reason that names anything \
        but the clock. Set it, best by switching on its synchronisation, and try again.",
    ),
    topic(
        "HOST_BROWSER_MISSING",
        35,
        "None of Chrome, Chromium, Edge or Firefox was found. Any program \
        that speaks SOCKS5 with names resolved by the proxy will do: `cadet open --print` shows the \
        address, the proxy and a curl line.",
    ),
    topic(
        "INET_UNREACHABLE",
        49,
        "The image's host did not answer. Behind a company proxy set \
        HTTPS_PROXY, and CADET_CA_FILE if that proxy has its own certificate authority. On Debian and \
        Ubuntu `cadet image build` makes a guest from packages instead.",
    ),
    topic(
        "INET_DOWNLOAD",
        49,
        "The download broke off or was refused. What has come so far is kept, and \
        the next try goes on from there.",
    ),
    topic(
        "INET_CHECKSUM",
        48,
        "The downloaded file is not the one its publisher signed for: a broken \
        transfer, or somebody in between. It was deleted and never used.",
    ),
    topic(
        "DRIVER_QEMU_MISSING",
        55,
        "Cadet runs its machine in QEMU, and no QEMU for this processor was \
        found on your PATH.",
    ),
    topic(
        "DRIVER_QEMU_TOO_OLD",
        56,
        "Cadet needs QEMU 7.2 or later: older ones lack flags that keep the machine locked in. Every \
         distribution since 2023 has it.",
    ),
    topic(
        "DRIVER_TOOL_MISSING",
        55,
        "A program that Cadet needs for this step is not installed.",
    ),
    topic(
        "DRIVER_START_FAILED",
        59,
        "QEMU did not start. Its own words are in the log; the usual \
        reasons are a port taken in the same instant, too little memory, or a QEMU built without what \
        the machine needs.",
    ),
    topic(
        "DRIVER_MACHINE_DIED",
        53,
        "The machine was running and then ended without being asked to. The \
        end of its console tells why. `cadet start` boots it again from the same disk; the cluster's \
        data is what was on the disk.",
    ),
    topic(
        "DRIVER_CONTROL",
        59,
        "QEMU runs but does not answer on its control socket.",
    ),
    topic(
        "IMAGE_UNKNOWN",
        65,
        "The catalogue has no image of that name. `cadet image list` shows all.",
    ),
    topic(
        "IMAGE_CORRUPT",
        68,
        "A disk image on the laptop is damaged. A base image can be made again \
        (`cadet image rm NAME`, then `cadet start`); a profile's disk holds your cluster, so Cadet \
        never removes it by itself.",
    ),
    topic(
        "IMAGE_BUILD",
        69,
        "Making the guest image failed. Nothing half-made is kept.",
    ),
    topic(
        "IMAGE_LESSON",
        69,
        "A lesson needs a container image that no registry gave and that could not be built in the \
        machine either. Cadet's own images are always built there; nginx, busybox and python come \
        from a registry or from Debian packages, which the Debian guest carries and an Ubuntu guest \
        fetches with apt. With the internet back, `cadet image lesson` puts all of them into the \
        cluster; that is also what to do before a journey.",
    ),
    topic(
        "BUNDLE_EXISTS",
        61,
        "Where the bundle was to be written lies a file that is none. `cadet class bundle` writes over \
        older bundles only; `--out` names another place.",
    ),
    topic(
        "BUNDLE_BUSY",
        61,
        "A file that goes into the bundle changed in the middle of the work: a build was running, or \
        an image was being made. Nothing was written.",
    ),
    topic(
        "BUNDLE_FORMAT",
        66,
        "Bundles have a format with a number, and this Cadet reads one of them. A bundle carries the \
        Cadet that made it: the teacher can hand that out as well, or make the bundle anew.",
    ),
    topic(
        "BUNDLE_PLATFORM",
        66,
        "A bundle has the machine for one kind of processor, or for two if the teacher asked for it. \
        This computer has another one, so nothing in the bundle would run here.",
    ),
    topic(
        "BUNDLE_SIGNATURE",
        67,
        "A bundle is signed with the teacher's key, and the signature covers every byte of it. This \
        one does not fit: somebody altered the bundle, or it was damaged on its way. Nothing of it \
        was used.",
    ),
    topic(
        "CLASS_TEACHER",
        67,
        "Bundles hold programs that run on your computer, so Cadet remembers whose they were. This \
        one is whole, but signed with another key than your teacher's, or with one that nobody has \
        vouched for. Ask the teacher to read out the sixteen letters that `cadet class bundle` shows; \
        `--key` names them.",
    ),
    topic(
        "BUNDLE_INVALID",
        68,
        "The file is no bundle, or one that breaks the rules of its own format. `cadet class bundle` \
        makes files whose names end in .cadet, or .cadet.001 and so on if they are split.",
    ),
    topic(
        "BUNDLE_TAMPERED",
        68,
        "A piece of the bundle is not what the teacher signed. It was not unpacked; pieces that are \
        right are kept for the next try. A stick that damages one file will damage others.",
    ),
    topic(
        "BUNDLE_TRUNCATED",
        69,
        "Bytes are missing at the end of the bundle, or one of its parts is not beside the others: a \
        copy that was cut short. All parts of a split bundle belong into one folder.",
    ),
    topic(
        "CLASS_SERVED",
        71,
        "A laptop holds one class at a time: another terminal runs `cadet class serve`. Its board is \
        what `cadet class board` shows; Ctrl-C there ends it.",
    ),
    topic(
        "CLASS_NOT_SERVED",
        73,
        "The board, and what it knows, are there while `cadet class serve` runs. The pace of a class \
        and its table without names can be had afterwards as well: `cadet class board --pace`, \
        `--export FILE`.",
    ),
    topic(
        "CLASS_NOT_JOINED",
        73,
        "A laptop is in a class after `cadet class join CODE`, until `cadet class leave`, and for as \
        long as the teacher leaves it on the board. Joining again loses nothing: machine, lessons and \
        progress are this laptop's own.",
    ),
    topic(
        "CLASS_OVER",
        75,
        "A join code belongs to one class. The teacher began another one since (`cadet class serve \
        --new`), or the code was copied from an old screen. The new code is on the board, on the \
        projector page and in the teacher's terminal.",
    ),
    topic(
        "CLASS_VERSION",
        76,
        "The two laptops have versions of Cadet that do not understand each other. The teacher's \
        bundle brings the right one: `cadet class install` from a stick, or the same release for both.",
    ),
    topic(
        "CLASS_STRANGER",
        77,
        "A join code has a pin of the teacher's key in it. What answers at the code's address has \
        another key, so nothing was sent to it. Either the teacher's laptop has another address by \
        now and somebody else has the old one, or somebody in the room poses as the class. The code \
        on the teacher's screen is always right.",
    ),
    topic(
        "CLASS_CLOSED",
        77,
        "The teacher closed the door (\"Let nobody new in\" on the board), or the class has a thousand \
        learners. Those who are in it already are not touched by either.",
    ),
    topic(
        "CLASS_CLOCK",
        78,
        "The class's certificate is made when it is opened and lasts thirty days. A laptop whose \
        battery was empty for long may live in another year; its clock must be right to within two \
        days.",
    ),
    topic(
        "CLASS_SILENT",
        79,
        "The teacher's laptop was not reached. Either the class is not open, the two laptops are in \
        different networks, or the teacher's address has changed since the code was written: `cadet \
        class serve` shows a new code then, and joining with it once is enough. The teacher's firewall \
        must let TCP port 7433 in.",
    ),
    topic(
        "CLASS_WIFI",
        79,
        "Both laptops are in one network, and still nothing comes back. Many guest networks keep their \
        clients apart (\"client isolation\", \"AP isolation\"): they reach the internet and not each \
        other. For the teacher, in the order of effort: let TCP port 7433 in at the laptop's own \
        firewall; choose a network that is not the guests'; ask for the isolation to be switched off; \
        open a hotspot on a phone or on the laptop and have everybody join that; put the laptops on a \
        cable and a switch; or hand the bundle round on sticks (`cadet class bundle --split`, then \
        `cadet class install DIR`): the lessons need no network, only the board does.",
    ),
    topic(
        "CLASS_BUSY",
        79,
        "The teacher's laptop lets in a certain number of requests a second from one address and from \
        all together, so that nobody can crowd out the others. A lesson repeats its reports by itself; \
        a command is repeated by hand.",
    ),
    topic(
        "CLASS_REFUSED",
        79,
        "The class answered and did not take what was sent. `cadet class status` tells how the class \
        sees this laptop; joining again with the code is always safe.",
    ),
    topic(
        "CLASS_IMAGES",
        79,
        "`cadet class serve` keeps container images that learners pull, so that each comes from the \
        internet once. Lessons of Cadet need none of them: `--no-images` serves the class without. A \
        class at an address that machines use within (`cadet doctor` shows them) has no images for them: \
        use another Wi-Fi, a phone's for instance.",
    ),
    topic(
        "NET_PORT_TAKEN",
        71,
        "Another program listens on that port of 127.0.0.1. Ports of Services never end like this: \
        the tunnel maps them to free ones, and `cadet tunnel --status` shows which.",
    ),
    topic(
        "NET_MIRROR",
        79,
        "The cache of container images could not be served. Machines work without it: Docker asks \
        the registry itself then. `cadet mirror status` shows how it stands, `cadet mirror off` \
        does without it.",
    ),
    topic(
        "NET_TUNNEL_DOWN",
        73,
        "No tunnel is running for this profile. It carries the SOCKS proxy, the Services' ports on \
        127.0.0.1 and Docker's socket; `cadet open`, `service` and `docker-env` start one by themselves.",
    ),
    topic(
        "NET_TUNNEL",
        79,
        "The tunnel could not be opened or broke off.",
    ),
    topic(
        "GUEST_NOT_FOUND",
        85,
        "There is no profile of that name. `cadet list` shows all; `cadet start \
        -p NAME` makes one.",
    ),
    topic(
        "GUEST_NOT_RUNNING",
        83,
        "The profile exists, but its machine is not running.",
    ),
    topic(
        "SNAPSHOT_NOT_FOUND",
        85,
        "The profile has no snapshot of that name. `cadet snapshot list` shows all.",
    ),
    topic(
        "SNAPSHOT_EXISTS",
        81,
        "A snapshot of that name is there, and none is ever written over. Delete it first, or \
        choose another name.",
    ),
    topic(
        "SNAPSHOT_OTHER_MACHINES",
        81,
        "A snapshot holds all machines of the profile at one moment, and can only be put back into \
        the same machines. Machines that were added since must be deleted first; of machines that \
        were deleted since, the disks are gone, and the snapshot with them.",
    ),
    topic(
        "GUEST_NODE_NOT_FOUND",
        85,
        "The profile has no machine of that name. The first machine is called as the profile, the \
        others have a number: `cadet node list` shows all, `cadet node add` makes one more.",
    ),
    topic(
        "GUEST_FIRST_NODE",
        84,
        "The first machine of a profile runs the control plane and keeps the cluster's data, so it \
        is not stopped, started or deleted as the others are: `cadet stop`, `cadet start` and \
        `cadet delete` do that with the whole profile.",
    ),
    topic(
        "GUEST_NO_CARD",
        88,
        "The machines of a profile are joined by a second network card. A machine that an older \
        Cadet made has none, and gets one at a boot after it was told so: stop the profile and start \
        it again. Nothing is lost by that.",
    ),
    topic(
        "GUEST_PAUSED",
        83,
        "The machine was paused: QEMU holds its processors still and keeps its memory. `cadet unpause` \
        lets it go on where it was and puts its clock right; `cadet start` does the same.",
    ),
    topic(
        "GUEST_CLOCK",
        88,
        "The machine's clock could not be put right. Certificates, leases and the ages of objects go \
        by it. A clock that is behind, because the machine slept or was paused, is moved forward; one \
        that is ahead by up to a minute is left alone under running programs: `cadet stop --poweroff` \
        and `cadet start` let the machine read the time anew. More than that is put back, and told.",
    ),
    topic(
        "GUEST_SSH_TIMEOUT",
        82,
        "The machine boots, but its SSH server did not answer in time. Under \
        software emulation and load a boot can take minutes; `cadet start` again goes on waiting. \
        `cadet logs --machine` shows how far the boot came.",
    ),
    topic(
        "GUEST_HOST_KEY",
        87,
        "What answers on the machine's SSH port is not the machine Cadet made: \
        its host key differs from the one Cadet generated. Cadet never connects to it.",
    ),
    topic(
        "GUEST_SSH",
        89,
        "A command inside the machine could not be run or failed.",
    ),
    topic(
        "GUEST_INSTALL",
        89,
        "cadet-node did not come up inside the machine.",
    ),
    topic(
        "GUEST_DOCKER",
        89,
        "Docker in the machine, or `docker save` on this computer, refused or failed. Its own words \
        are the reason; with -o json they are in the error. `cadet ssh -- docker info` shows whether \
        the engine itself is well.",
    ),
    topic(
        "SERVER_TAKEN",
        81,
        "The server runs a cluster already, another profile's, another laptop's or another Kubernetes', \
        or somebody listens on a port that a node needs. Cadet leaves a mark on each server it sets up \
        (/etc/cadet/mark) and touches none that has another mark, or files of a Cadet and no mark. \
        Nothing was changed there.",
    ),
    topic(
        "SERVER_NO_MACHINE",
        86,
        "The profile is on servers that you have, and what you asked for needs a machine that Cadet \
        makes: QEMU holds it still, keeps its memory, grows its disk. Servers are only reached by SSH. \
        Everything that goes through that line works: ssh, logs, tunnel, open, images, lessons, why.",
    ),
    topic(
        "SERVER_SYSTEM",
        86,
        "Servers are set up with apt-get and systemd, as Debian, Ubuntu and what is made of them have \
        it. On another Linux with Docker `cadet-node up` may do: it says what is missing there.",
    ),
    topic(
        "SERVER_ARCH",
        86,
        "The `cadet-node` beside this cadet is made for another processor than the server's. Build it \
        on a computer of that kind (`./scripts/build-guest`), and name it with CADET_NODE_BINARY. All \
        servers of a profile are of one kind.",
    ),
    topic(
        "SERVER_SMALL",
        88,
        "The server has too little memory or disk for a node: 768 MiB and 2 GiB are the least. Nothing \
        was changed there.",
    ),
    topic(
        "SERVER_ADDRESS",
        88,
        "A node is known by one IPv4 address, and the server shows none towards others: neither the \
        one you reached it by nor one by which it reaches the outside.",
    ),
    topic(
        "SERVER_APART",
        88,
        "Pods of other nodes are reached by plain routes, so the servers of a profile must be in one \
        network, with addresses of their own and no router in between; a cloud's private network often \
        is such a one. Its filters must let pods' addresses (10.244.0.0/16) pass.",
    ),
    topic(
        "SERVER_SUDO",
        87,
        "Installing services needs root. Either the user may use sudo without a password, or root \
        signs in with a key. Cadet never asks for a password and keeps none. Nothing was changed there.",
    ),
    topic(
        "SERVER_KEY",
        87,
        "Your private key cannot be used as it is: it is missing, protected by a passphrase, or of \
        another kind than ed25519. The tunnel connects again by itself, without anybody to ask, so it \
        needs a key without a passphrase; one made for this alone is best, and `--ssh-key` names it.",
    ),
    topic(
        "SERVER_KEY_REFUSED",
        87,
        "The server answers and does not let the user in with this key. `ssh-copy-id` puts the public \
        half where it belongs, if you can sign in some other way.",
    ),
    topic(
        "SERVER_HOST_KEY",
        87,
        "The server's host key is not the one that was trusted. Either it was made anew with the \
        server, or something else answers at its address. Cadet says nothing to it, not even who you \
        are. Compare the fingerprint on a way you trust, such as the provider's console, and then \
        `cadet start --accept-host-key` or `--host-key FILE` takes the new one.",
    ),
    topic(
        "SERVER_HOST_KEY_UNKNOWN",
        87,
        "At first sight nobody knows whether a server is the one you mean. At a terminal Cadet shows \
        the fingerprint and asks; elsewhere `--host-key FILE` names the keys to trust, as public key \
        lines or as your known_hosts has them, and `--accept-host-key` takes what is shown.",
    ),
    topic(
        "SERVER_UNREACHABLE",
        89,
        "Nobody answers at the server's SSH port, or not as OpenSSH does. `ssh USER@SERVER true` fails \
        in the same way: name, port, firewall, or the server is off. `cadet delete --leave-servers` \
        forgets servers that will not come back.",
    ),
    topic(
        "SERVER_INSTALL",
        89,
        "Something that Cadet runs on the server failed; its last words are the reason. What is done \
        already is not done twice, so the command can be repeated; `cadet delete` takes back what was \
        done, and nothing else.",
    ),
    topic(
        "CLUSTER_API_TIMEOUT",
        102,
        "The API server did not answer in time. `cadet logs` shows what \
        cadet-node says.",
    ),
    topic(
        "CLUSTER_NODE_NOT_READY",
        102,
        "The API answers, but the node did not become Ready in time. \
        `kubectl describe node` and `cadet logs` tell why.",
    ),
    topic(
        "CLUSTER_API",
        109,
        "The API server refused or broke off a request.",
    ),
    topic(
        "CLUSTER_NOT_FOUND",
        105,
        "There is no such object in the cluster.",
    ),
    topic(
        "CLUSTER_NO_STORY",
        106,
        "`cadet trace` asks the API server what it saw happen to an object. Only Cadet's own server \
        remembers that, for as long as it runs; other clusters have the object's conditions and its \
        events, which `kubectl describe` shows.",
    ),
    topic(
        "CLUSTER_NOT_READY",
        103,
        "The object exists but cannot be opened yet: a pod has an address \
        only once it runs.",
    ),
    topic(
        "CLUSTER_DASHBOARD",
        103,
        "The dashboard is a page that the control plane serves inside the machine, on its loopback \
        alone, and that the tunnel leads to. It does not answer if the machine still runs a cadet-node \
        from before there was one (`cadet stop` and `cadet start` bring the newest), if another program \
        in the machine has its port 10270, or while the control plane starts; `cadet logs` tells which.",
    ),
];

/// The topic of `id`, written in any case.
pub fn find(id: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|t| t.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_exit_codes_lie_in_a_family() {
        for (i, topic) in TOPICS.iter().enumerate() {
            assert!(
                TOPICS[i + 1..].iter().all(|t| t.id != topic.id),
                "{} twice",
                topic.id
            );
            assert!(
                topic.exit == 2 || (10..=109).contains(&topic.exit),
                "{}",
                topic.id
            );
            assert!(topic.story.len() > 30, "{} has no story", topic.id);
        }
    }
}
