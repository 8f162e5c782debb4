use cadet_image::*;
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let cache = Cache::open(a[1].as_ref()).unwrap();
    let cat = Catalog::built_in().unwrap();
    let catalog::Image::Packages {
        suite,
        mirrors,
        root,
        ..
    } = cat.get("debian-13", Arch::Amd64).unwrap()
    else {
        panic!()
    };
    let uid = std::process::Command::new("id").arg("-u").output().unwrap();
    let as_root = uid.stdout.trim_ascii() == b"0";
    let env = [("HOME", "/tmp")]
        .map(|(k, v)| (k.into(), v.into()))
        .to_vec();
    let tools = tools::Tools::new(std::env::var_os("PATH").as_deref(), env);
    let build = debian::Build {
        image: "debian-13",
        arch: Arch::Amd64,
        suite,
        mirrors,
        root,
        as_root,
    };
    let t = std::time::Instant::now();
    let base = build
        .ensure(&cache, &tools, &|p| {
            eprintln!("{:6.1} {p:?}", t.elapsed().as_secs_f32())
        })
        .await;
    match base {
        Ok(b) => println!("{:.1}s {b:#?}", t.elapsed().as_secs_f32()),
        Err(e) => {
            println!("{e}");
            std::process::exit(1)
        }
    }
}
