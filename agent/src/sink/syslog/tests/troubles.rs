//! Why nothing gets through, in words that say where to look.

use super::*;

fn refused(receiver: &Receiver, patience: Patience) -> String {
    match Connection::open(receiver, patience, silent) {
        Ok(_) => panic!("it is refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn port_that_takes_connections_and_speaks_no_tls_is_asked_for() {
    let (listener, port) = listen();
    let patience = Patience { connect: Duration::from_millis(300), ..PATIENCE };
    let error = refused(&receiver(port, Transport::Tls(tls(&plant(false), "siem.example", false))), patience);
    let expected =
        format!("no TLS answer from `127.0.0.1:{port}` within 0.3 s: does a TLS receiver listen there?");
    assert_eq!(error, expected);
    drop(listener);
}

#[test]
fn receiver_that_nobody_vouches_for_is_told_with_the_key_to_mend() {
    let (here, other) = (plant(false), plant(false));
    let (listener, port) = listen();
    let server = serve(here.server.clone(), listener);
    let error = refused(&receiver(port, Transport::Tls(tls(&other, "siem.example", false))), PATIENCE);
    assert!(error.contains("invalid peer certificate: ") && error.contains(": nobody in `"), "{error}");
    assert!(error.ends_with("ca.pem`, which `ca` names, vouches for it"), "{error}");
    server.join().expect("it ends").expect_err("the gateway hangs up");
}

#[test]
fn datagram_that_its_host_refuses_is_known_without_another() {
    let port =
        UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("it was free").port();
    let mut connection =
        Connection::open(&receiver(port, Transport::Udp), PATIENCE, silent).expect("it needs nobody");
    connection.send(&messages(1)).expect("it leaves");
    // Over loopback the answer is there before the call returns.
    let error = connection.confirmed().expect_err("nobody listens").to_string();
    assert!(error.contains("Connection refused"), "{error}");
}
