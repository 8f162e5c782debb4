//! Images of lessons where no registry answers: made of this machine's own Debian packages
//! (those that are not installed are fetched by apt), and as good as a lesson needs them.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use cadet_api::install::LessonImage;
use cadet_kubelet::stock::{Told, stock};

use crate::engine::{Engine, image, run};

/// A registry that is not there: port 9 discards, and nobody listens on it.
const NOWHERE: &str = "localhost:9";
const NAMES: [&str; 3] = ["busybox", "nginx", "python"];

/// What the seed disk carries to the guest.
fn carry(home: &Path) {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let contexts = home.join("lessons");
    std::fs::create_dir_all(&contexts).expect("folder");
    let mut table = Vec::new();
    for name in NAMES {
        let folder = tempfile::tempdir().expect("folder");
        let put = |file: &Path| {
            let name = file.file_name().expect("name");
            std::fs::copy(file, folder.path().join(name)).expect("copy");
        };
        for file in std::fs::read_dir(images.join(name)).expect("folder") {
            put(&file.expect("file").path());
        }
        put(&images.join("packages.py"));
        let packed = image::pack(folder.path());
        std::fs::write(contexts.join(format!("{name}.tar")), packed).expect("write");
        table.push(LessonImage {
            repository: format!("{NOWHERE}/{name}"),
            tags: vec!["1".into()],
            when_args: Vec::new(),
            pull_instead: None,
            context: name.into(),
            always: false,
            own: false,
            build_args: Default::default(),
            says: "Debian's runs.".into(),
        });
    }
    let table = serde_json::to_string(&table).expect("json");
    std::fs::write(home.join("lessons.json"), table).expect("write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busybox_nginx_and_python_are_made_of_debian_packages() {
    let engine = Engine::start().await;
    let home = engine.folder().join("stand-ins");
    carry(&home);
    let told = Mutex::new(Vec::new());
    let tell = |line: Told| told.lock().expect("lock").push(line);
    let wishes = NAMES.map(|name| format!("{NOWHERE}/{name}:1"));
    stock(&*engine.runtime, &home, &wishes, &tell)
        .await
        .expect("images");
    let told = told.into_inner().expect("lock");
    for wish in &wishes {
        let instead = Told::Instead(format!("{wish}: Debian's runs."));
        assert!(told.contains(&instead), "{told:?}");
    }

    let docker = |words: &[&str]| {
        let mut command = Command::new("docker");
        let socket = format!("unix://{}", engine.socket());
        // The builder that is in the engine itself, as in the Debian guest.
        command
            .env("DOCKER_BUILDKIT", "0")
            .arg("-H")
            .arg(socket)
            .args(words);
        run(&mut command)
    };
    let alone = |image: &str, script: &str| {
        let image = format!("{NOWHERE}/{image}:1");
        docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            &image,
            "sh",
            "-c",
            script,
        ])
    };
    assert_eq!(
        alone("busybox", "echo one two | wc -w; id -un"),
        "2\nroot\n"
    );
    // What `kubectl exec` and a lesson's ConfigMap find in the official image as well.
    let page = alone(
        "nginx",
        "test -d /etc/nginx/conf.d && nginx && curl -s http://127.0.0.1/",
    );
    assert!(page.contains("Welcome to nginx"), "{page}");

    let app = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| {
        std::fs::write(app.path().join(name), text).expect("write");
    };
    write("requirements.txt", "flask\n");
    write(
        "main.py",
        "import flask\napp = flask.Flask('app')\n\
         @app.get('/')\ndef hello():\n    return flask.render_template_string('{{ 6 * 7 }}')\n\
         print(app.test_client().get('/').text)\n",
    );
    write(
        "Dockerfile",
        &format!(
            "FROM {NOWHERE}/python:1\nWORKDIR /app\nCOPY . .\n\
             RUN pip install -r requirements.txt\nCMD [\"python\", \"main.py\"]\n"
        ),
    );
    let folder = app.path().to_str().expect("path");
    let built = docker(&["build", "--network", "none", "-t", "app:1", folder]);
    assert!(built.contains("pypi.org does not answer"), "{built}");
    assert_eq!(
        docker(&["run", "--rm", "--network", "none", "app:1"]),
        "42\n"
    );
}
