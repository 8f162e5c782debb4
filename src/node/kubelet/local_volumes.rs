//! Folders of volumes that were made on this node: the control plane asks for their end when
//! the claim is gone. Made they are like any `hostPath` of type `DirectoryOrCreate`.

use std::path::Path as Folder;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use cadet_api::install::LOCAL_VOLUMES;

/// What every such folder's name begins with: nothing else is ever removed.
const PREFIX: &str = "pvc-";

/// `DELETE /volumes/<folder>`: 200 once it is gone, 400 for a name that no volume has.
pub(crate) async fn remove(Path(folder): Path<String>) -> Response {
    match remove_in(Folder::new(LOCAL_VOLUMES), &folder).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(Refused::Name) => (
            StatusCode::BAD_REQUEST,
            "not the name of a volume of this node",
        )
            .into_response(),
        Err(Refused::Disk(error)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

#[derive(Debug)]
enum Refused {
    Name,
    Disk(std::io::Error),
}

async fn remove_in(root: &Folder, folder: &str) -> Result<(), Refused> {
    let plain = folder.starts_with(PREFIX)
        && folder
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plain {
        return Err(Refused::Name);
    }
    match tokio::fs::remove_dir_all(root.join(folder)).await {
        // No pod ever mounted it, or it went the last time we were asked.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Refused::Disk(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_folders_of_volumes_are_removed() {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("pvc-1_d_data");
        std::fs::create_dir_all(folder.join("deep")).expect("folder");
        std::fs::write(root.path().join("kept"), "x").expect("file");
        for bad in ["../x", "kept", "pvc-1/../kept", "", ".."] {
            let refused = remove_in(root.path(), bad).await;
            assert!(matches!(refused, Err(Refused::Name)), "{bad}");
        }
        assert!(remove_in(root.path(), "pvc-1_d_data").await.is_ok());
        assert!(!folder.exists() && root.path().join("kept").exists());
        assert!(
            remove_in(root.path(), "pvc-1_d_data").await.is_ok(),
            "again"
        );
    }
}
