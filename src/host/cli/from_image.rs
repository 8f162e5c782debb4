//! Errors of the image room in the user's words.

use cadet_image::ImageError;

use crate::error::CliError;
use crate::from_rooms::chain;
use crate::machine;

impl From<ImageError> for CliError {
    fn from(e: ImageError) -> Self {
        let text = chain(&e);
        match &e {
            ImageError::UnknownImage { name, known } => {
                CliError::new("IMAGE_UNKNOWN", format!("there is no image {name:?}"))
                    .why(format!("there are: {}", known.join(", ")))
                    .fix("cadet image list")
            }
            ImageError::NoArch { .. } => {
                CliError::new("IMAGE_UNKNOWN", text).why("it was not made for this computer's processor").fix("cadet image list")
            }
            ImageError::Catalog(why) => {
                CliError::new("IMAGE_UNKNOWN", "the image catalogue cannot be read").why(why.clone()).fix("unset CADET_CATALOG")
            }
            ImageError::Unreachable { url, why } => {
                CliError::new("INET_UNREACHABLE", format!("{url} cannot be reached"))
                    .why(why.clone())
                    .fix("cadet image build      makes a Debian guest from packages instead\nHTTPS_PROXY=http://proxy:3128 cadet start      behind a proxy")
            }
            ImageError::Untrusted { url, why } => {
                CliError::new("INET_UNREACHABLE", format!("the certificate of {url} is not trusted"))
                    .why(why.clone())
                    .fix("CADET_CA_FILE=/path/to/company-ca.pem cadet start")
            }
            ImageError::Client(_) | ImageError::CaFile { .. } => {
                CliError::new("INET_UNREACHABLE", "the network settings cannot be used")
                    .why(text)
                    .fix("env | grep -i -e proxy -e CADET_CA_FILE")
            }
            ImageError::Status { .. } | ImageError::Cut { .. } => {
                CliError::new("INET_DOWNLOAD", "the download did not finish").why(text).fix("cadet start      goes on where it stopped")
            }
            ImageError::WrongChecksum { .. } | ImageError::NoChecksum { .. } => {
                CliError::new("INET_CHECKSUM", "the download is not what its publisher announced")
                    .why(text)
                    .fix("cadet start      fetches it again")
            }
            ImageError::DiskFull { path } => machine::disk_full(&path.display().to_string(), &text),
            ImageError::File { act, path, source } => machine::io(act, path, source),
            ImageError::MissingTools { programs, packages } => {
                CliError::new("DRIVER_TOOL_MISSING", format!("programs are missing: {}", programs.join(", ")))
                    .why("the Debian guest is built with them")
                    .fix(format!("sudo apt-get install {}", packages.join(" ")))
            }
            ImageError::NoSubordinateIds { user } => {
                CliError::new("IMAGE_BUILD", format!("user {user} may not build a guest yet"))
                    .why(text)
                    .fix(format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"))
            }
            ImageError::DamagedBase { path, .. } => {
                CliError::new("IMAGE_CORRUPT", format!("the prepared image in {} is damaged", path.display()))
                    .why(text)
                    .fix("cadet image rm NAME && cadet start")
            }
            ImageError::NotPrepared { .. } => CliError::new("IMAGE_UNKNOWN", text).why("it was never made here").fix("cadet image build"),
            ImageError::Mirror { why } => {
                CliError::new("INET_UNREACHABLE", "the package mirror cannot be reached").why(why.clone()).fix("cadet doctor")
            }
            ImageError::Prepare { why, tail } => {
                CliError::new("IMAGE_BUILD", "the image could not be prepared")
                    .why(format!("{why}\n{}", tail.join("\n")))
                    .fix("cadet start")
            }
            ImageError::Run { .. } | ImageError::Tool { .. } => {
                CliError::new("IMAGE_BUILD", "making the guest image failed").why(text).fix("cadet image build")
            }
        }
    }
}
