//! Rules that hold, that do not, and that are refused; every function of the library.

use super::*;
use serde_json::json;

#[test]
fn rules_hold_or_not() {
    let object = json!({"replicas": 3, "max": 5, "name": "web-1", "x-y": 1,
        "list": [{"n": "a"}, {"n": "b"}], "labels": {"k": "v"}});
    for (rule, want) in [
        ("self.replicas <= self.max", true),
        ("self.replicas > self.max", false),
        ("has(self.name) && self.name.startsWith('web')", true),
        ("self.list.all(x, x.n != '')", true),
        ("self.list.exists(x, x.n == 'c')", false),
        ("size(self.list) == 2 && 'k' in self.labels", true),
        ("self.x__dash__y == 1", true),
        ("self.name.matches('^web-[0-9]+$')", true),
        ("!has(self.none) || self.none > 1", true),
    ] {
        let program = Program::compile(rule).expect(rule);
        assert_eq!(program.holds(&object, Old::Nothing), Ok(want), "{rule}");
    }
    let back = Program::compile("self.replicas >= oldSelf.replicas").expect("rule");
    assert!(back.looks_back);
    assert_eq!(
        back.holds(&object, Old::Was(&json!({"replicas": 4}))),
        Ok(false)
    );
}

#[test]
fn what_cannot_be_run_is_refused_at_once() {
    for bad in ["", "self.", "self.x ==", "nothing(self.x) == 'a'", "((("] {
        assert!(Program::compile(bad).is_err(), "{bad}");
    }
    let missing = Program::compile("self.none == 1").expect("rule");
    assert!(missing.holds(&json!({}), Old::Nothing).is_err());
}

#[test]
fn kubernetes_own_functions_are_there() {
    let this = json!({"l": [3, 1, 2], "s": ["a", "b", "a"], "t": "abc 123 def 456", "e": []});
    for rule in [
        "[1, 2, 3].isSorted() && !self.l.isSorted() && self.l.sum() == 6",
        "self.l.min() == 1 && self.l.max() == 3 && self.e.sum() == 0",
        "self.s.indexOf('a') == 0 && self.s.lastIndexOf('a') == 2 && self.s.indexOf('z') == -1",
        "self.t.find('[0-9]+') == '123' && self.t.find('x') == ''",
        "self.t.findAll('[0-9]+') == ['123', '456'] && self.t.findAll('[0-9]+', 1) == ['123']",
        "isURL('https://example.com:80/a') && !isURL('../a') && !isURL('https://a:b:c/')",
        "url('https://example.com:80/a b?k=v&k=w').getHost() == 'example.com:80'",
        "url('https://example.com:80/').getHostname() == 'example.com' && url('https://[::1]:80/').getPort() == '80'",
        "url('https://example.com/with space/').getEscapedPath() == '/with%20space/'",
        "url('https://example.com/?k=a%20b&k=w').getQuery() == {'k': ['a b', 'w']} && url('/p').getScheme() == ''",
        "isQuantity('1.3Gi') && !isQuantity('1a') && quantity('50k').isInteger()",
        "quantity('50k').add(quantity('20k')) == quantity('70k') && quantity('50k').sub(20000) == quantity('30k')",
        "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('50Mi').isGreaterThan(quantity('50M'))",
        "quantity('-1').sign() == -1 && quantity('5').asInteger() == 5 && quantity('1.5').asApproximateFloat() == 1.5",
        "isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.1/8') && ip('::1').family() == 6",
        "ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD') && ip('127.0.0.1').isLoopback()",
        "ip('169.254.1.1').isLinkLocalUnicast() && ip('8.8.8.8').isGlobalUnicast() && ip('0.0.0.0').isUnspecified()",
        "isCIDR('192.168.0.0/16') && !isCIDR('192.168.0.0/33') && cidr('::1/128').prefixLength() == 128",
        "cidr('192.168.0.0/24').containsIP('192.168.0.1') && !cidr('192.168.0.0/24').containsIP(ip('192.168.1.1'))",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "cidr('10.1.2.3/8').ip() == ip('10.1.2.3') && string(ip('::1')) == '::1'",
        "!format.named('dns1123Label').value().validate('a').hasValue() && !format.named('x').hasValue()",
        "format.dns1123Label().validate('a_b').hasValue() && !format.date().validate('2026-01-01').hasValue()",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1], [1, 2])",
        "isSemver('1.2.3-a.1+b') && !isSemver('1.2') && semver('1.2.3').isLessThan(semver('1.10.0'))",
        "semver('1.0.0-a').isLessThan(semver('1.0.0')) && semver('2.1.0').major() == 2",
        "'tacocat'.charAt(3) == 'o' && 'a,b'.split(',').join('-') == 'a-b' && ' a '.trim() == 'a'",
        "'ABC'.lowerAscii() == 'abc' && 'abc'.substring(1) == 'bc' && 'abc'.reverse() == 'cba'",
        "[[1], [2]].flatten() == [1, 2] && math.greatest(1, 2) == 2 && [3, 1].sort() == [1, 3]",
        "'abab'.replace('a', 'c') == 'cbcb' && 'abab'.replace('a', 'c', 1) == 'cbab' && ['a', 'b'].join() == 'ab'",
        "optional.of(1).hasValue() && self.?none.orValue(5) == 5 && [1, 1].distinct() == [1]",
    ] {
        let program = Program::compile(rule).unwrap_or_else(|why| panic!("{rule}: {why}"));
        assert_eq!(program.holds(&this, Old::Nothing), Ok(true), "{rule}");
    }
}

#[test]
fn a_rule_is_checked_against_its_schema() {
    let schema = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "name": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    for (rule, words) in [
        ("self.replicas > 1 && self.list.all(x, x.n == 'a')", ""),
        (
            "self.labels['a'] == 'b' && self.labels.c == 'd' && self.any.x == 1",
            "",
        ),
        ("self.metadata.name == self.name && has(self.name)", ""),
        ("self.list.map(x, x.n).exists(n, n == self.name)", ""),
        (
            "self.foo > 1",
            "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^",
        ),
        (
            "self.list.all(x, x.m == 'a')",
            "compilation failed: ERROR: <input>:1:19: undefined field 'm'\n | self.list.all(x, x.m == 'a')\n | ..................^",
        ),
        (
            "foo > 1",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo > 1\n | ^",
        ),
        ("self.replicas", "cel expression must evaluate to a bool"),
    ] {
        let said = Program::compile_for(rule, &schema, false).err();
        assert_eq!(said.unwrap_or_default(), words, "{rule}");
    }
    for (rule, part) in [
        (
            "self.replicas > 'a'",
            "found no matching overload for '_>_' applied to '(int, string)'",
        ),
        (
            "self.name.x == 1",
            "type 'string' does not support field selection",
        ),
        (
            "self.name + 1 == 'a'",
            "found no matching overload for '_+_' applied to '(string, int)'",
        ),
        (
            "frob(self)",
            "undeclared reference to 'frob' (in container '')",
        ),
    ] {
        let said = Program::compile_for(rule, &schema, false).err();
        assert!(
            said.as_deref().unwrap_or_default().contains(part),
            "{rule}: {said:?}"
        );
    }
    assert!(Program::compile_message("'a' + self.name", &schema, false).is_ok());
    assert!(Program::compile_message("self.replicas", &schema, false).is_err());
}

#[test]
fn a_rule_ends_by_its_budget() {
    let list: Vec<i64> = (0..2000).collect();
    let this = json!({"l": list, "s": "x".repeat(30_000)});
    for rule in [
        "self.l.all(a, self.l.all(b, self.l.all(c, self.l.all(d, a + b + c + d >= 0))))",
        "self.l.exists(a, self.l.map(b, self.l.map(c, a + b + c)).size() < 0)",
        "self.l.all(a, sets.equivalent(self.l, self.l))",
        "[self.s].map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a).size() > 0",
        "self.s.replace('', self.s).size() > 0",
        "self.l.map(a, 'x').join(self.s) == ''",
    ] {
        let program = Program::compile(rule).expect(rule);
        let said = program.holds(&this, Old::Nothing);
        assert_eq!(said, Err(budget::EXCEEDED.to_owned()), "{rule}");
    }
    let next = Program::compile("self.l.all(a, a >= 0)").expect("rule");
    assert_eq!(next.holds(&this, Old::Nothing), Ok(true));
}

#[test]
fn the_value_before_may_be_nothing() {
    let rule = "!oldSelf.hasValue() || oldSelf.value() <= self";
    let program = Program::compile_for(rule, &json!({"type": "integer"}), true).expect(rule);
    let (two, three) = (json!(2), json!(3));
    assert_eq!(program.holds(&two, Old::Perhaps(None)), Ok(true));
    assert_eq!(program.holds(&two, Old::Perhaps(Some(&three))), Ok(false));
}
