use super::*;

fn backend(n: u8) -> Backend {
    Backend {
        ip: Ipv4Addr::new(10, 244, 0, n),
        port: 80,
    }
}

fn pool(numbers: &[u8]) -> Fragment {
    pool_in(
        "endpoints-tcp",
        Slots::After("10.96.0.1 . 80".into()),
        numbers,
    )
}

fn pool_in(map: &str, slots: Slots, numbers: &[u8]) -> Fragment {
    let key = PoolKey {
        map: map.into(),
        slots,
    };
    Fragment {
        items: BTreeSet::new(),
        pools: [(key, numbers.iter().map(|n| backend(*n)).collect())].into(),
    }
}

#[test]
fn endpoints_keep_their_slots_and_the_last_fills_the_gap() {
    let old: Vec<Backend> = [1, 2, 3, 4].map(backend).into();
    let wanted = |numbers: &[u8]| numbers.iter().map(|n| backend(*n)).collect();
    let numbers =
        |list: Vec<Backend>| -> Vec<u8> { list.iter().map(|b| b.ip.octets()[3]).collect() };
    let arranged = |now: &[u8]| numbers(arrange(&old, &wanted(now)));
    assert_eq!(arranged(&[1, 2, 3, 4]), [1, 2, 3, 4]);
    assert_eq!(arranged(&[1, 3, 4]), [1, 4, 3]);
    assert_eq!(arranged(&[1, 3, 4, 9]), [1, 9, 3, 4]);
    assert_eq!(arranged(&[0, 1, 2, 3, 4]), [1, 2, 3, 4, 0]);
    assert_eq!(arranged(&[4]), [4]);
    assert_eq!(arranged(&[]), [0_u8; 0]);
}

#[test]
fn only_changed_slots_are_written() {
    let mut table = Table::default();
    let five = pool(&[1, 2, 3, 4, 5]);
    table.replace(&Fragment::default(), &five);
    assert_eq!(
        table.commit().unwrap(),
        "add element ip cadet endpoints-tcp { 10.96.0.1 . 80 . 0 : 10.244.0.1 . 80, \
         10.96.0.1 . 80 . 1 : 10.244.0.2 . 80, 10.96.0.1 . 80 . 2 : 10.244.0.3 . 80, \
         10.96.0.1 . 80 . 3 : 10.244.0.4 . 80, 10.96.0.1 . 80 . 4 : 10.244.0.5 . 80 }\n"
    );
    let four = pool(&[1, 5, 3, 4]);
    table.replace(&five, &four);
    assert_eq!(
        table.commit().unwrap(),
        "delete element ip cadet endpoints-tcp { 10.96.0.1 . 80 . 1, 10.96.0.1 . 80 . 4 }\n\
         add element ip cadet endpoints-tcp { 10.96.0.1 . 80 . 1 : 10.244.0.5 . 80 }\n"
    );
    // There and back between two commits is no change.
    table.replace(&four, &five);
    table.replace(&five, &four);
    assert_eq!(table.commit(), None);
}

#[test]
fn a_list_of_its_own_is_emptied_where_little_of_it_stays() {
    let own = |numbers: &[u8]| pool_in("endpoints-x", Slots::Addresses, numbers);
    let mut table = Table::default();
    let six = own(&[1, 2, 3, 4, 5, 6]);
    table.replace(&Fragment::default(), &six);
    assert_eq!(
        table.commit().unwrap(),
        "add element ip cadet endpoints-x { 0 : 10.244.0.1, 1 : 10.244.0.2, 2 : 10.244.0.3, \
         3 : 10.244.0.4, 4 : 10.244.0.5, 5 : 10.244.0.6 }\n"
    );
    let half = own(&[1, 2, 3, 7, 8]);
    table.replace(&six, &half);
    assert_eq!(
        table.commit().unwrap(),
        "delete element ip cadet endpoints-x { 3, 4, 5 }\n\
         add element ip cadet endpoints-x { 3 : 10.244.0.7, 4 : 10.244.0.8 }\n"
    );
    let other = own(&[1, 9, 10, 11]);
    table.replace(&half, &other);
    assert_eq!(
        table.commit().unwrap(),
        "flush map ip cadet endpoints-x\n\
         add element ip cadet endpoints-x { 0 : 10.244.0.1, 1 : 10.244.0.9, \
         2 : 10.244.0.10, 3 : 10.244.0.11 }\n"
    );
    assert_eq!(
        table.whole(),
        "add element ip cadet endpoints-x { 0 : 10.244.0.1, 1 : 10.244.0.9, \
         2 : 10.244.0.10, 3 : 10.244.0.11 }\n"
    );
    // In a map with others nothing but its own elements may go.
    let (old, new) = (pool(&[1, 2]), pool(&[3]));
    table.replace(&Fragment::default(), &old);
    assert!(table.commit().is_some());
    table.replace(&old, &new);
    assert_eq!(
        table.commit().unwrap(),
        "delete element ip cadet endpoints-tcp { 10.96.0.1 . 80 . 0, 10.96.0.1 . 80 . 1 }\n\
         add element ip cadet endpoints-tcp { 10.96.0.1 . 80 . 0 : 10.244.0.3 . 80 }\n"
    );
}

#[test]
fn with_a_map_goes_what_is_in_it() {
    let mut table = Table::default();
    let mut own = pool_in("endpoints-x", Slots::Backends, &[1, 2]);
    let map = Item::set(
        "endpoints-x",
        "typeof numgen random mod 2 : ip daddr . tcp dport",
    );
    own.items.insert(map);
    table.replace(&Fragment::default(), &own);
    assert_eq!(
        table.commit().unwrap(),
        "add map ip cadet endpoints-x { typeof numgen random mod 2 : ip daddr . tcp dport; }\n\
         add element ip cadet endpoints-x { 0 : 10.244.0.1 . 80, 1 : 10.244.0.2 . 80 }\n"
    );
    table.replace(&own, &Fragment::default());
    assert_eq!(table.commit().unwrap(), "delete map ip cadet endpoints-x\n");
}

#[test]
fn shared_things_come_with_the_first_owner_and_go_with_the_last() {
    let mut table = Table::default();
    let one: Fragment = Fragment {
        items: [
            Item::chain("pick", "accept\ndrop"),
            Item::set("peers", "type ipv4_addr"),
            Item::set("to", "type ipv4_addr : verdict"),
            Item::entry("to", "10.0.0.1".into(), "goto pick"),
        ]
        .into(),
        pools: BTreeMap::new(),
    };
    let none = Fragment::default();
    table.replace(&none, &one);
    table.replace(&none, &one);
    assert_eq!(
        table.commit().unwrap(),
        "add set ip cadet peers { type ipv4_addr; }\n\
         add map ip cadet to { type ipv4_addr : verdict; }\n\
         add chain ip cadet pick\n\
         add rule ip cadet pick accept\n\
         add rule ip cadet pick drop\n\
         add element ip cadet to { 10.0.0.1 : goto pick }\n"
    );
    table.replace(&one, &none);
    assert_eq!(table.commit(), None);
    table.replace(&one, &none);
    assert_eq!(
        table.commit().unwrap(),
        "delete element ip cadet to { 10.0.0.1 }\n\
         flush chain ip cadet pick\n\
         delete chain ip cadet pick\n\
         delete set ip cadet peers\n\
         delete map ip cadet to\n"
    );
}

#[test]
fn a_changed_value_is_taken_out_before_it_is_put_in() {
    let mut table = Table::default();
    let with = |value: &str| Fragment {
        items: [Item::entry("service-ips", "k".into(), value)].into(),
        pools: BTreeMap::new(),
    };
    table.replace(&Fragment::default(), &with("goto a"));
    assert!(table.commit().is_some());
    table.replace(&with("goto a"), &with("goto b"));
    assert_eq!(
        table.commit().unwrap(),
        "delete element ip cadet service-ips { k }\n\
         add element ip cadet service-ips { k : goto b }\n"
    );
    assert_eq!(
        table.whole(),
        "add element ip cadet service-ips { k : goto b }\n"
    );
}
