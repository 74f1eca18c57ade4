# SPDX-License-Identifier: PostgreSQL
"""Random small signed zones, each with something right or wrong about it, and questions to them.

Everything comes from one seed, so that a case that fails can be made again. A case is a zone below one of
a few top-level zones, a defect out of DEFECTS, and a question. What the right verdict is, nobody here
knows: another validator is asked.
"""
import random
import re

TOPS = ("alpha.", "beta.", "gamma.", "delta.")  # NSEC; NSEC3; NSEC3 with opt-out; NSEC and RSA
TOP_OPTIONS = {"alpha.": [], "beta.": ["-n", "-t", "0"], "gamma.": ["-n", "-p", "-t", "0"], "delta.": []}
TOP_ALGORITHM = {"delta.": "RSASHA256"}

QUESTIONS = (("www", "A"), ("www", "AAAA"), ("www", "MX"), ("", "SOA"), ("", "MX"), ("", "DNSKEY"), ("nope", "A"),
             ("a.b.nope", "A"), ("x.wild", "A"), ("x.y.wild", "A"), ("x.wild", "AAAA"), ("ent", "A"),
             ("leaf.ent", "A"), ("alias", "A"), ("alias", "CNAME"), ("chain", "A"), ("dangling", "A"), ("away", "A"),
             ("q.moved", "A"), ("q.r.moved", "A"), ("moved", "DNAME"), ("island", "DS"), ("www.island", "A"),
             ("nope.island", "A"), ("zz", "TXT"), ("txt", "TXT"), ("*.wild", "A"), ("both.wild", "A"),
             ("wildalias.aliases", "A"), ("", "DS"))


def zone_text(zone, rng):
    """A zone with one of everything."""
    target = rng.choice(["www.good.alpha.", "www.good.beta.", "www.unsigned.alpha.", "nope.good.alpha."])
    lines = ["$ORIGIN %s" % zone, "$TTL 300",
             "@ SOA ns hostmaster 1 3600 600 86400 60", "@ NS ns", "@ MX 10 mail", "ns A 127.0.0.1",
             "www A 192.0.2.%d" % rng.randrange(1, 255), "mail A 192.0.2.25", "*.wild A 192.0.2.77",
             "both.wild TXT \"no address\"", "leaf.ent A 192.0.2.5", "alias CNAME www", "chain CNAME alias",
             "dangling CNAME nowhere", "away CNAME %s" % target, "moved DNAME good.alpha.", "island NS ns.island",
             "ns.island A 127.0.0.1", "txt TXT \"one\" \"two\"", "*.aliases CNAME www"]
    for _ in range(rng.randrange(0, 4)):
        lines.append("h%d A 192.0.2.%d" % (rng.randrange(1000), rng.randrange(1, 255)))
    if rng.random() < 0.3:
        lines.append("WWW A 198.51.100.9")
    return "\n".join(lines) + "\n"


def island_text(zone):
    return "$ORIGIN island.%s\n$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.8\n" % zone


# ---- defects: (text, rng) -> text ----

def records(text):
    return text.splitlines(True)


def is_sig_of(line, rtype):
    return re.search(r"\sIN\s+RRSIG\s+%s\s" % rtype, line)


def drop(predicate):
    def defect(text, rng):
        return "".join(line for line in records(text) if not predicate(line))
    return defect


def drop_one(predicate):
    def defect(text, rng):
        lines = records(text)
        found = [i for i, line in enumerate(lines) if predicate(line)]
        if found:
            del lines[rng.choice(found)]
        return "".join(lines)
    return defect


def flip_signature(predicate):
    """Another letter in the middle of the base64 of one signature."""
    def defect(text, rng):
        lines = records(text)
        found = [i for i, line in enumerate(lines) if predicate(line)]
        if found:
            i = rng.choice(found)
            head, sig = lines[i].split(";")[0].rstrip().rsplit(None, 1)
            at = len(sig) // 2
            sig = sig[:at] + ("A" if sig[at] != "A" else "B") + sig[at + 1:]
            lines[i] = head + " " + sig + "\n"
        return "".join(lines)
    return defect


def tamper_address(text, rng):
    return re.sub(r"(?m)^(www\.\S+\s+\d+\s+IN\s+A\s+)\S+", r"\g<1>203.0.113.66", text)


def tamper_wildcard(text, rng):
    return re.sub(r"(?m)^(\\?\*\.wild\.\S+\s+\d+\s+IN\s+A\s+)\S+", r"\g<1>203.0.113.66", text)


def tamper_alias(text, rng):
    return re.sub(r"(?m)^(alias\.\S+\s+\d+\s+IN\s+CNAME\s+)(www|txt)", r"\g<1>mail", text)


def tamper_dname(text, rng):
    return re.sub(r"(?m)^(moved\.\S+\s+\d+\s+IN\s+DNAME\s+)\S+", r"\g<1>good.beta.", text)


def other_tag(text, rng):
    """One signature says another key tag."""
    return re.sub(r"(RRSIG\s+A 13 \d+ \d+ \d+ \d+ )(\d+)", lambda m: m.group(1) + str((int(m.group(2)) + 1) % 65536), text)


def more_labels(text, rng):
    return re.sub(r"(?m)^(www\.\S+\s+\d+\s+IN\s+RRSIG\s+A \d+ )3 ", r"\g<1>4 ", text)


def fewer_labels(text, rng):
    return re.sub(r"(?m)^(www\.\S+\s+\d+\s+IN\s+RRSIG\s+A \d+ )3 ", r"\g<1>2 ", text)


def widen_nsec(text, rng):
    """An NSEC that covers more than it was signed to."""
    return re.sub(r"(?m)^(leaf\.ent\.\S+\s+\d+\s+IN\s+NSEC\s+)\S+", r"\g<1>zzz.nope.", text)


def add_signed_ttl(text, rng):
    """A lower TTL than the original one does no harm."""
    return re.sub(r"(?m)^(www\.\S+\s+)300(\s+IN\s+A)", r"\g<1>30\2", text)


SIG = re.compile(r"\sIN\s+RRSIG\s")

TEXT_DEFECTS = {
    "none": lambda text, rng: text,
    "lower_ttl": add_signed_ttl,
    "tampered_a": tamper_address,
    "tampered_wildcard": tamper_wildcard,
    "tampered_cname": tamper_alias,
    "tampered_dname": tamper_dname,
    "stripped_a": drop(lambda line: is_sig_of(line, "A")),
    "stripped_all": drop(lambda line: SIG.search(line)),
    "stripped_dnskey": drop(lambda line: is_sig_of(line, "DNSKEY")),
    "stripped_soa": drop(lambda line: is_sig_of(line, "SOA")),
    "stripped_nsec": drop(lambda line: is_sig_of(line, "NSEC3?")),
    "stripped_cname": drop(lambda line: is_sig_of(line, "CNAME")),
    "no_nsec": drop(lambda line: re.search(r"\sIN\s+NSEC\s", line) and not SIG.search(line)),
    "one_nsec_less": drop_one(lambda line: re.search(r"\sIN\s+NSEC\s", line) and not SIG.search(line)),
    "flipped_a": flip_signature(lambda line: is_sig_of(line, "A")),
    "flipped_dnskey": flip_signature(lambda line: is_sig_of(line, "DNSKEY")),
    "flipped_nsec": flip_signature(lambda line: is_sig_of(line, "NSEC3?")),
    "flipped_any": flip_signature(lambda line: SIG.search(line)),
    "no_keys": drop(lambda line: re.search(r"\sIN\s+DNSKEY\s", line)),
    "other_tag": other_tag,
    "more_labels": more_labels,
    "fewer_labels": fewer_labels,
    "widened_nsec": widen_nsec,
}

# How the zone is signed or delegated.
SIGNING = ("expired", "future", "wrong_key", "ds_missing", "ds_algorithm", "ds_digest_type", "ds_digest", "ds_tag",
           "ds_sha1", "ds_sha384", "ds_two", "unsigned", "unsigned_with_ds", "sha1_beside_sha256", "iterations_150",
           "iterations_200", "ds_unsupported_beside_good")

DEFECTS = tuple(TEXT_DEFECTS) + SIGNING
DENIALS = {"nsec": [], "nsec3": ["-n", "-t", "0"], "nsec3_salt": ["-n", "-t", "5", "-s", "aabbccdd"],
           "opt_out": ["-n", "-p", "-t", "0"]}


class Case:
    def __init__(self, number, rng):
        self.rng = rng
        self.top = rng.choice(TOPS)
        self.zone = "z%d.%s" % (number, self.top)
        # Most of the weight on what can go wrong, with a share of what is right.
        self.defect = rng.choice(DEFECTS) if rng.random() < 0.75 else "none"
        self.denial = rng.choice(sorted(DENIALS))
        self.algorithm = rng.choice(("ECDSAP256SHA256",) * 6 + ("RSASHA256", "RSASHA512", "ECDSAP384SHA384", "ED25519"))
        name, self.qtype = rng.choice(QUESTIONS)
        self.qname = (name + "." if name else "") + self.zone

    def __str__(self):
        return "%s %s (%s, %s, %s)" % (self.qname, self.qtype, self.defect, self.denial, self.algorithm)

    def build(self, lab):
        """(zones {name: text}, lines for the zone above)."""
        rng, zone = self.rng, self.zone
        text, options = zone_text(zone, rng), list(DENIALS[self.denial])
        dates = {"expired": (-86400 * 40, -86400 * 12), "future": (86400 * 12, 86400 * 40)}.get(
            self.defect, (-86400 * 5, 86400 * 20))
        if self.defect.startswith("iterations_"):
            options = ["-n", "-t", self.defect.split("_")[1]]
        if self.defect in ("unsigned", "unsigned_with_ds"):
            signed = text
        else:
            signed = lab.sign(zone, text, *options, algorithm=self.algorithm, inception=dates[0], expiration=dates[1])
        if self.defect in TEXT_DEFECTS:
            signed = TEXT_DEFECTS[self.defect](signed, rng)
        zones = {zone: signed, "island." + zone: island_text(zone)}
        return zones, "%s 300 IN NS ns.%s\n" % (zone, zone) + "".join(line + "\n" for line in self.delegation(lab))

    def delegation(self, lab):
        good = lab.ds(self.zone, self.algorithm)
        fields = good.split()
        tag, algorithm, kind, digest = fields[-4:]
        head = " ".join(fields[:-4])

        def ds(tag=tag, algorithm=algorithm, kind=kind, digest=digest):
            return " ".join([head, str(tag), str(algorithm), str(kind), digest])

        flipped = ("0" if digest[0] != "0" else "1") + digest[1:]
        return {
            "ds_missing": [], "unsigned": [], "wrong_key": [lab.ds(self.zone, self.algorithm, which_one=1)],
            "ds_algorithm": [ds(algorithm=250)], "ds_digest_type": [ds(kind=99)], "ds_digest": [ds(digest=flipped)],
            "ds_tag": [ds(tag=(int(tag) + 1) % 65536)], "ds_sha1": [lab.ds(self.zone, self.algorithm, digest="-1")],
            "ds_sha384": [lab.ds(self.zone, self.algorithm, digest="-4")],
            "ds_two": [lab.ds(self.zone, self.algorithm, which_one=1), good],
            "sha1_beside_sha256": [lab.ds(self.zone, self.algorithm, digest="-1"), ds(digest=flipped)],
            "ds_unsupported_beside_good": [ds(algorithm=250), good],
        }.get(self.defect, [good])


def fixed_zones(lab):
    """The zones that cases point into: {zone: text}, and lines for the zones above by top."""
    zones, above = {}, {top: "" for top in TOPS}
    for top in ("alpha.", "beta."):
        name = "good." + top
        zones[name] = lab.sign(name, zone_text(name, random.Random(1)))
        zones["island." + name] = island_text(name)
        above[top] += "%s 300 IN NS ns.%s\n%s\n" % (name, name, lab.ds(name))
    zones["unsigned.alpha."] = zone_text("unsigned.alpha.", random.Random(2))
    above["alpha."] += "unsigned.alpha. 300 IN NS ns.unsigned.alpha.\n"
    return zones, above


def tree(lab, cases):
    """All zones of a tree with these cases: {zone: text}; the anchor is in lab.folder/"anchor"."""
    zones, above = fixed_zones(lab)
    for case in cases:
        more, lines = case.build(lab)
        zones.update(more)
        above[case.top] += lines
    root = "$TTL 300\n. SOA ns. h. 1 3600 600 86400 60\n. NS ns.\nns. A 127.0.0.1\n"
    for top in TOPS:
        algorithm = TOP_ALGORITHM.get(top, "ECDSAP256SHA256")
        text = "$ORIGIN %s\n$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n" % top + above[top]
        zones[top] = lab.sign(top, text, *TOP_OPTIONS[top], algorithm=algorithm)
        root += "%s NS ns.%s\n%s\n" % (top, top, lab.ds(top, algorithm))
    zones["."] = lab.sign(".", root)
    (lab.folder / "anchor").write_text(lab.ds(".") + "\n")
    return zones
