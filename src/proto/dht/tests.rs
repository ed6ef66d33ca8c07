use super::*;
use crate::proto::damage::survived;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn query(ask: Ask) -> Packet {
    let id = NodeId(*b"abcdefghij0123456789");
    let query = Query { id, ask, want: None, read_only: false };
    Packet { transaction: b"aa".to_vec(), body: Body::Query(query) }
}

#[test]
fn questions_are_written_as_in_the_examples_of_bep_5() {
    let target = NodeId(*b"mnopqrstuvwxyz123456");
    let info_hash = InfoHash(target.0);
    for (ask, expected) in [
        (Ask::Ping, "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
        (
            Ask::FindNode(target),
            "d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e\
             1:q9:find_node1:t2:aa1:y1:qe",
        ),
        (
            Ask::GetPeers(info_hash),
            "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e\
             1:q9:get_peers1:t2:aa1:y1:qe",
        ),
        (
            Ask::Announce { info_hash, port: Some(6881), token: b"aoeusnth".to_vec() },
            "d1:ad2:id20:abcdefghij012345678912:implied_porti0e9:info_hash20:mnopqrstuvwxyz123456\
             4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
        ),
    ] {
        let packet = query(ask);
        assert_eq!(String::from_utf8(packet.encode()).unwrap(), expected);
        assert_eq!(Packet::decode(expected.as_bytes()), Some(packet));
    }
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let info_hash = InfoHash([3; 20]);
    let all = Query {
        id: NodeId([1; 20]),
        ask: Ask::Announce { info_hash, port: None, token: b"t".to_vec() },
        want: Some((true, false)),
        read_only: true,
    };
    let answer = Answer {
        id: NodeId([2; 20]),
        nodes: vec![
            (NodeId([4; 20]), at("9.8.7.6:2000")),
            (NodeId([5; 20]), at("[2001:db8::1]:3000")),
        ],
        peers: vec![at("9.8.7.5:4000"), at("[2001:db8::2]:5000")],
        token: Some(b"token".to_vec()),
        external: Some(at("5.4.3.2:1000")),
    };
    let refusal = Body::Refusal(204, "what?".into());
    for body in [Body::Query(all), Body::Answer(answer), refusal] {
        let packet = Packet { transaction: vec![0, 255], body };
        assert_eq!(Packet::decode(&packet.encode()), Some(packet));
    }
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    for bad in [
        "",
        "le",
        "d1:t2:aae",
        "d1:t2:aa1:y1:xe",
        "d1:q4:ping1:t2:aa1:y1:qe",
        "d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe",
        "d1:ad2:id20:abcdefghij01234567896:target2:xye1:q9:find_node1:t2:aa1:y1:qe",
        "d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re",
    ] {
        assert_eq!(Packet::decode(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn nobody_is_sent_to_a_port_of_services() {
    let answer = Answer {
        nodes: vec![(NodeId([4; 20]), at("9.8.7.6:80")), (NodeId([5; 20]), at("9.8.7.6:1024"))],
        peers: vec![at("9.8.7.5:53"), at("9.8.7.5:4000")],
        ..Answer::new(NodeId([2; 20]))
    };
    let packet = Packet { transaction: vec![1], body: Body::Answer(answer) };
    let Some(Body::Answer(read)) = Packet::decode(&packet.encode()).map(|packet| packet.body)
    else {
        panic!("it is an answer")
    };
    assert_eq!(read.nodes, [(NodeId([5; 20]), at("9.8.7.6:1024"))]);
    assert_eq!(read.peers, [at("9.8.7.5:4000")]);
}

#[test]
fn damaged_packets_never_panic() {
    let nodes = vec![(NodeId([4; 20]), at("9.8.7.6:2000")), (NodeId([5; 20]), at("[::2]:3000"))];
    let peers = vec![at("9.8.7.5:4000"), at("[2001:db8::2]:5000")];
    let answer = Answer { nodes, peers, ..Answer::new(NodeId([2; 20])) };
    let whole = Packet { transaction: vec![1], body: Body::Answer(answer) }.encode();
    let took = survived(
        3000,
        |random| {
            let changes = 1 + random.below(4);
            random.damage(&whole, changes)
        },
        |bytes, _| {
            let read = Packet::decode(bytes);
            let again = read.as_ref().map(|packet| Packet::decode(&packet.encode()));
            assert_eq!(again.flatten(), read);
            read.is_some()
        },
    );
    assert!(took > 100, "{took}");
}
