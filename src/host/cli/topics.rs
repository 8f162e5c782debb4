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
        more than the laptop has.",
    ),
    topic(
        "RESOURCE_MEMORY",
        24,
        "The machine cannot have that much memory. The smallest that runs a \
        lesson is 768 MiB; what is left for the laptop itself should be at least 512 MiB. Write sizes \
        as 2g, 1536m or plain MiB.",
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
        "Processors and memory can change between two starts; the size of an \
        existing disk and its image cannot. Use another profile (`-p NAME`), or delete this one.",
    ),
    topic(
        "HOST_DISK_FULL",
        31,
        "A write failed because the disk is full. Nothing half-written is kept. \
        Free some space, or put the Cadet home on a bigger disk with CADET_HOME.",
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
        "There is no kubectl on your PATH. Cadet works with every kubectl \
        from 1.27 on and does not bring its own yet.",
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
        internet once. Lessons of Cadet need none of them: `--no-images` serves the class without.",
    ),
    topic(
        "NET_PORT_TAKEN",
        71,
        "Another program listens on that port of 127.0.0.1. Ports of Services never end like this: \
        the tunnel maps them to free ones, and `cadet tunnel --status` shows which.",
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
