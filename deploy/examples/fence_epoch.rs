//! An endpoint that checks `X-Fence-Epoch`: a write of an owner that was is refused.
//!
//! Without any crate: `rustc --edition 2021 fence_epoch.rs && ./fence_epoch` prints its port, and serves
//! until it is killed. Here everything is in memory, and one lock is held while a request is looked at
//! and written. With a database, raise the epoch in the transaction that writes, as `fence_epoch.py` does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

/// What is written, and the highest epoch of each tenant.
#[derive(Default)]
struct Data {
    highest: HashMap<String, u64>,
    orders: Vec<(String, Vec<u8>)>,
}

impl Data {
    /// Whether a write may be made.
    fn is_current(&mut self, tenant: &str, epoch: u64) -> bool {
        let highest = self.highest.entry(tenant.to_owned()).or_default();
        let is_current = *highest <= epoch;
        *highest = epoch.max(*highest);
        is_current
    }
}

fn main() -> std::io::Result<()> {
    let data = Mutex::new(Data::default());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    std::thread::scope(|threads| {
        for connection in listener.incoming().flatten() {
            let data = &data;
            threads.spawn(move || serve(connection, data));
        }
    });
    Ok(())
}

/// Serves one request, and closes.
fn serve(mut connection: TcpStream, data: &Mutex<Data>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut headers = HashMap::new();
    let mut line = String::new();
    reader.read_line(&mut line)?;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let tenant = headers.get("x-tenant").cloned().unwrap_or_default();
    let status = match headers.get("x-fence-epoch").and_then(|it| it.parse().ok()) {
        None => "428 Precondition Required",
        Some(epoch) => {
            let mut data = data.lock().expect("nobody panics with it");
            if data.is_current(&tenant, epoch) {
                data.orders.push((tenant, body));
                "200 OK"
            } else {
                // 409 and not 503: whoever sent it must not send it again.
                "409 Conflict"
            }
        }
    };
    write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
