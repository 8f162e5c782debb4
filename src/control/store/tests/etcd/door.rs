//! A door between a server and its etcd that can be shut.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Etcd;

pub struct Door {
    listener: Arc<TcpListener>,
    /// `host:port` of what is behind it.
    pub target: String,
    passing: JoinSet<()>,
}

impl Door {
    pub async fn to(etcd: &Etcd) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let mut door = Door {
            listener: Arc::new(listener),
            target: etcd.endpoint(),
            passing: JoinSet::new(),
        };
        door.open();
        door
    }

    pub fn endpoint(&self) -> String {
        self.listener.local_addr().expect("address").to_string()
    }

    pub fn open(&mut self) {
        let (listener, target) = (Arc::clone(&self.listener), self.target.clone());
        self.passing.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
    }

    pub async fn shut(&mut self) {
        self.passing.shutdown().await;
    }
}
