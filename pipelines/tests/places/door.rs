//! A door before a server: it passes everything on, and once it ends the server in the middle of a request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Where in a request the server ends.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// It has got so many bytes of the body.
    Body(usize),
    /// It has begun to answer, and nobody hears that.
    Answer,
}

/// What ends the server, and when: at a place in a request that begins with these words.
struct Cut {
    request: String,
    at: At,
    end: Box<dyn FnOnce() + Send>,
}

impl Cut {
    /// Where the body of the request begins in what was sent through a connection.
    fn body(&self, sent: &[u8]) -> Option<usize> {
        let find = |bytes: &[u8], words: &[u8]| bytes.windows(words.len()).position(|window| window == words);
        let begins = find(sent, self.request.as_bytes())?;
        find(&sent[begins..], b"\r\n\r\n").map(|head| begins + head + 4)
    }
}

type Waiting = Arc<Mutex<Option<Cut>>>;

pub struct Door {
    pub port: u16,
    waiting: Waiting,
}

impl Door {
    /// Opens a door before the server at a port; it stays open while the server is away.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let waiting = Waiting::default();
        let door = Self { port, waiting: Arc::clone(&waiting) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where nobody listens the client finds its connection closed.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                pass_on(client, server, &waiting);
            }
        });
        door
    }

    /// From now on, the first request that comes to this place ends the server.
    pub fn ends(&self, request: &str, at: At, end: impl FnOnce() + Send + 'static) {
        *self.waiting.lock().unwrap() = Some(Cut { request: request.to_owned(), at, end: Box::new(end) });
    }
}

fn close(one: &TcpStream, other: &TcpStream) {
    let _ = (one.shutdown(Shutdown::Both), other.shutdown(Shutdown::Both));
}

/// Passes on what both sides of a connection say, each on a thread of its own.
fn pass_on(client: TcpStream, server: TcpStream, waiting: &Waiting) {
    let is_answer_due = Arc::new(AtomicBool::new(false));
    let asked = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (due, cut) = (Arc::clone(&is_answer_due), Arc::clone(waiting));
    std::thread::spawn(move || ask(asked.0, asked.1, &cut, &due));
    let cut = Arc::clone(waiting);
    std::thread::spawn(move || answer(client, server, &cut, &is_answer_due));
}

fn ask(mut client: TcpStream, mut server: TcpStream, waiting: &Waiting, is_answer_due: &AtomicBool) {
    let (mut piece, mut sent) = (vec![0; 1 << 14], Vec::new());
    while let Some(read) = client.read(&mut piece).ok().filter(|read| *read > 0) {
        let before = sent.len();
        let mut waits = waiting.lock().unwrap();
        if let Some(cut) = &*waits {
            sent.extend_from_slice(&piece[..read]);
            match (cut.body(&sent), cut.at) {
                (Some(body), At::Body(bytes)) if body + bytes <= sent.len() => {
                    let _ = server.write_all(&piece[..(body + bytes).saturating_sub(before)]);
                    if let Some(cut) = waits.take() {
                        (cut.end)();
                    }
                    break;
                }
                (Some(_), At::Answer) => is_answer_due.store(true, Ordering::SeqCst),
                _ => {}
            }
        }
        drop(waits);
        if server.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    close(&client, &server);
}

fn answer(mut client: TcpStream, mut server: TcpStream, waiting: &Waiting, is_answer_due: &AtomicBool) {
    let mut piece = vec![0; 1 << 14];
    while let Some(read) = server.read(&mut piece).ok().filter(|read| *read > 0) {
        if is_answer_due.load(Ordering::SeqCst)
            && let Some(cut) = waiting.lock().unwrap().take()
        {
            (cut.end)();
            break;
        }
        if client.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    close(&client, &server);
}
