//! What each peer holds of something limited, and from whom it is taken back once it is used up: a peer may hold
//! everything for as long as it is alone, and makes room for any other that holds less.
//!
//! Whether a peer is a stranger or the provider is known from its signature alone, and that only when a body is
//! whole. So what is not whole yet is shared by peers, whoever they are. There are at most as many entries as things
//! are held, however many addresses a stranger has.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::http::peer::Peer;

#[derive(Debug)]
pub struct FairShare<T> {
    peers: HashMap<Peer, Holdings<T>>,
    next: u64,
}

#[derive(Debug)]
struct Holdings<T> {
    amount: usize,
    /// By age: a later thing has a higher number.
    things: BTreeMap<u64, Held<T>>,
}

/// A thing that a peer holds, and how much it counts.
#[derive(Debug)]
pub struct Held<T> {
    pub amount: usize,
    pub thing: T,
}

/// Names a thing that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldId {
    peer: Peer,
    number: u64,
}

impl<T> Default for FairShare<T> {
    fn default() -> Self {
        Self { peers: HashMap::new(), next: 0 }
    }
}

impl<T> FairShare<T> {
    /// The name of the next thing of `peer`, for [`FairShare::insert`].
    pub fn next_id(&mut self, peer: Peer) -> HeldId {
        self.next += 1;
        HeldId { peer, number: self.next }
    }

    pub fn insert(&mut self, id: HeldId, amount: usize, thing: T) {
        let holdings = self.peers.entry(id.peer).or_insert_with(|| Holdings { amount: 0, things: BTreeMap::new() });
        holdings.amount += amount;
        holdings.things.insert(id.number, Held { amount, thing });
    }

    pub fn contains(&self, id: HeldId) -> bool {
        self.peers.get(&id.peer).is_some_and(|holdings| holdings.things.contains_key(&id.number))
    }

    /// Counts `more` for a thing that is held.
    pub fn grow(&mut self, id: HeldId, more: usize) {
        let Some(holdings) = self.peers.get_mut(&id.peer) else { return };
        if let Some(held) = holdings.things.get_mut(&id.number) {
            held.amount += more;
            holdings.amount += more;
        }
    }

    /// None if it was taken away before.
    pub fn remove(&mut self, id: HeldId) -> Option<Held<T>> {
        let holdings = self.peers.get_mut(&id.peer)?;
        let held = holdings.things.remove(&id.number)?;
        holdings.amount -= held.amount;
        if holdings.things.is_empty() {
            self.peers.remove(&id.peer);
        }
        Some(held)
    }

    /// Takes a thing from the peer that holds most, for the sake of `peer`, who wants `amount` and must hold less with it
    /// than that other one does now. `choose` says which thing of a peer is taken: the one with the highest value, the
    /// oldest of equal ones, none without any.
    pub fn take_for<V: Ord>(
        &mut self,
        peer: Peer,
        amount: usize,
        choose: impl Fn(&Held<T>) -> Option<V>,
    ) -> Option<Held<T>> {
        let mut most = self.peers.get(&peer).map_or(0, |holdings| holdings.amount).saturating_add(amount);
        let mut chosen = None;
        for (other, holdings) in self.peers.iter().filter(|(other, _)| **other != peer) {
            if holdings.amount > most
                && let Some((_, Reverse(number))) =
                    holdings.things.iter().filter_map(|(number, held)| Some((choose(held)?, Reverse(*number)))).max()
            {
                most = holdings.amount;
                chosen = Some(HeldId { peer: *other, number });
            }
        }
        self.remove(chosen?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(number: u8) -> Peer {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, number)).into()
    }

    fn hold(share: &mut FairShare<&'static str>, number: u8, amount: usize, thing: &'static str) -> HeldId {
        let id = share.next_id(peer(number));
        share.insert(id, amount, thing);
        id
    }

    fn largest(held: &Held<&'static str>) -> Option<usize> {
        Some(held.amount)
    }

    #[test]
    fn the_peer_that_holds_most_makes_room_for_those_that_hold_less() {
        let mut share = FairShare::default();
        let small = hold(&mut share, 1, 10, "small");
        hold(&mut share, 1, 20, "large");
        hold(&mut share, 2, 15, "other");
        assert!(share.take_for(peer(1), 1, largest).is_none(), "nobody makes room for who holds most");
        assert!(share.take_for(peer(2), 15, largest).is_none(), "nor for who would hold as much");
        assert_eq!(share.take_for(peer(2), 14, largest).unwrap().thing, "large");
        assert_eq!(share.take_for(peer(3), 9, largest).unwrap().thing, "other", "who holds most now");
        share.grow(small, 5);
        assert_eq!(share.remove(small).unwrap().amount, 15);
        assert!(share.remove(small).is_none() && !share.contains(small));
        assert!(share.peers.is_empty(), "no peer is remembered that holds nothing");
    }

    #[test]
    fn what_cannot_be_chosen_is_not_taken_but_from_the_next_peer() {
        let mut share = FairShare::default();
        hold(&mut share, 1, 30, "busy");
        hold(&mut share, 2, 20, "idle");
        let idle = |held: &Held<&'static str>| (held.thing == "idle").then_some(());
        assert_eq!(share.take_for(peer(3), 1, idle).unwrap().thing, "idle");
        assert!(share.take_for(peer(3), 1, idle).is_none());
    }

    #[test]
    fn what_counts_nothing_is_never_taken() {
        let mut share = FairShare::default();
        for _ in 0..100 {
            hold(&mut share, 1, 0, "of a trusted proxy");
        }
        hold(&mut share, 2, 1, "one");
        hold(&mut share, 2, 1, "two");
        assert_eq!(share.take_for(peer(3), 1, largest).unwrap().thing, "one", "the oldest of equal ones");
        assert!(share.take_for(peer(3), 1, largest).is_none());
        assert_eq!(share.peers[&peer(1)].things.len(), 100);
    }
}
