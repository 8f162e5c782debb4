//! The bytes of SOCKS5: greeting, login, request, reply.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

pub(super) const VERSION: u8 = 5;
pub(super) const LOGIN_VERSION: u8 = 1;
pub(super) const METHOD_NONE: u8 = 0;
pub(super) const METHOD_PASSWORD: u8 = 2;
pub(super) const METHOD_UNACCEPTABLE: u8 = 0xff;

/// Reply codes of RFC 1928 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    Succeeded = 0,
    GeneralFailure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    TtlExpired = 6,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Connect,
    /// BIND, UDP ASSOCIATE and whatever else.
    Other,
}

/// A reply. The bound address is in the guest and unknown to us; clients of CONNECT do
/// not use it, and zeros are what servers commonly send.
pub(super) fn reply(code: Reply) -> [u8; 10] {
    [VERSION, code as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

async fn counted(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u8().await?;
    let mut bytes = vec![0; usize::from(length)];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The login methods a client offers.
pub(super) async fn read_greeting(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    match from.read_u8().await? {
        VERSION => counted(from).await,
        4 => Err(bad("the client speaks SOCKS4")),
        b'G' | b'P' | b'H' | b'C' | b'D' | b'O' => Err(bad("the client speaks HTTP")),
        _ => Err(bad("the client does not speak SOCKS5")),
    }
}

/// User name and password.
pub(super) async fn read_login(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    if from.read_u8().await? != LOGIN_VERSION {
        return Err(bad("unknown version of the password exchange"));
    }
    let username = counted(from).await?;
    Ok((username, counted(from).await?))
}

/// The request; the inner error is the code to refuse it with.
pub(super) async fn read_request(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Result<(Command, String, u16), Reply>> {
    if from.read_u8().await? != VERSION {
        return Err(bad("the request is not SOCKS5"));
    }
    let command = match from.read_u8().await? {
        1 => Command::Connect,
        _ => Command::Other,
    };
    let _reserved = from.read_u8().await?;
    let host = match from.read_u8().await? {
        1 => {
            let mut octets = [0; 4];
            from.read_exact(&mut octets).await?;
            Ipv4Addr::from(octets).to_string()
        }
        4 => {
            let mut octets = [0; 16];
            from.read_exact(&mut octets).await?;
            Ipv6Addr::from(octets).to_string()
        }
        3 => {
            let name = counted(from).await?;
            // The name goes to the guest's resolver; it must be one that can exist.
            let well_formed = !name.is_empty()
                && name
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(b));
            let port = from.read_u16().await?;
            return Ok(match String::from_utf8(name) {
                Ok(name) if well_formed => Ok((command, name, port)),
                _ => Err(Reply::HostUnreachable),
            });
        }
        _ => return Ok(Err(Reply::AddressTypeNotSupported)),
    };
    let port = from.read_u16().await?;
    Ok(Ok((command, host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn request(bytes: &[u8]) -> io::Result<Result<(Command, String, u16), Reply>> {
        read_request(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn the_three_kinds_of_address() {
        let v4 = request(&[5, 1, 0, 1, 10, 244, 0, 7, 0, 80])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(v4, (Command::Connect, "10.244.0.7".into(), 80));

        let mut bytes = vec![5, 1, 0, 4];
        bytes.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([0x1f, 0x90]);
        let v6 = request(&bytes).await.unwrap().unwrap();
        assert_eq!(v6, (Command::Connect, "fd00::1".into(), 8080));

        let mut bytes = vec![5, 1, 0, 3, 11];
        bytes.extend(b"my_svc.test");
        bytes.extend([0, 80]);
        let name = request(&bytes).await.unwrap().unwrap();
        assert_eq!(name, (Command::Connect, "my_svc.test".into(), 80));
    }

    #[tokio::test]
    async fn what_we_do_not_do_is_named() {
        for command in [2, 3, 9] {
            let seen = request(&[5, command, 0, 1, 1, 1, 1, 1, 0, 1])
                .await
                .unwrap()
                .unwrap();
            assert_eq!(seen.0, Command::Other);
        }
        let unknown = request(&[5, 1, 0, 9, 1]).await.unwrap();
        assert_eq!(unknown, Err(Reply::AddressTypeNotSupported));
        let nasty = request(&[5, 1, 0, 3, 3, b'a', b'\n', b'b', 0, 80])
            .await
            .unwrap();
        assert_eq!(nasty, Err(Reply::HostUnreachable));
        let empty = request(&[5, 1, 0, 3, 0, 0, 80]).await.unwrap();
        assert_eq!(empty, Err(Reply::HostUnreachable));
    }

    #[tokio::test]
    async fn cut_and_foreign_bytes_are_errors() {
        assert!(request(&[5, 1, 0, 1, 10, 244]).await.is_err());
        assert!(request(&[4, 1, 0, 1]).await.is_err());
        assert!(read_greeting(&mut &b"GET / HTTP/1.1"[..]).await.is_err());
        assert_eq!(read_greeting(&mut &[5, 2, 0, 2][..]).await.unwrap(), [0, 2]);
        assert!(read_login(&mut &[5, 1, b'a'][..]).await.is_err());
        let login = read_login(&mut &[1, 1, b'a', 2, b'b', b'c'][..])
            .await
            .unwrap();
        assert_eq!(login, (b"a".to_vec(), b"bc".to_vec()));
    }
}
