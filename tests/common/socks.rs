//! A SOCKS5 proxy on 127.0.0.1 that forwards every connection to one server (RFC 1928, RFC 1929).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A requested connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// An address, or a name for the proxy to resolve.
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(Ipv4Addr),
    Name(String),
}

pub(crate) struct Socks {
    /// `127.0.0.1:…`
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Socks {
    /// Runs until the test program ends; `server` is `host:port`.
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (all, server) = (Arc::clone(&asked), server.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, server) = (Arc::clone(&all), server.clone());
                thread::spawn(move || drop(serve(stream, &server, &all)));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, server: &str, all: &Mutex<Vec<Asked>>) -> io::Result<()> {
    let [_version, count] = take(&mut client)?;
    let mut methods = vec![0; count.into()];
    client.read_exact(&mut methods)?;
    let login = if methods.contains(&2) {
        client.write_all(&[5, 2])?;
        let [_version] = take(&mut client)?;
        let login = (text(&mut client)?, text(&mut client)?);
        client.write_all(&[1, 0])?;
        Some(login)
    } else {
        client.write_all(&[5, 0])?;
        None
    };
    let [_version, _connect, _reserved, kind] = take(&mut client)?;
    let host = match kind {
        1 => Host::Address(Ipv4Addr::from(take::<4>(&mut client)?)),
        _ => Host::Name(text(&mut client)?),
    };
    let port = u16::from_be_bytes(take(&mut client)?);
    all.lock().unwrap().push(Asked { host, port, login });
    let mut server = TcpStream::connect(server)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

fn take<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A length and that many bytes.
fn text(stream: &mut TcpStream) -> io::Result<String> {
    let [length] = take(stream)?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}
