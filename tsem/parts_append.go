// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// Each function appends a JSON object, or, where its name says so, the members
// of one. Names and values are joined into as few pieces as can be: these run
// for every event.

func (c *COE) appendMembers(b []byte) []byte {
	b = appendUint(append(b, `"uid": "`...), uint64(c.UID))
	b = appendUint(append(b, `", "euid": "`...), uint64(c.EUID))
	b = appendUint(append(b, `", "suid": "`...), uint64(c.SUID))
	b = appendUint(append(b, `", "gid": "`...), uint64(c.GID))
	b = appendUint(append(b, `", "egid": "`...), uint64(c.EGID))
	b = appendUint(append(b, `", "sgid": "`...), uint64(c.SGID))
	b = appendUint(append(b, `", "fsuid": "`...), uint64(c.FSUID))
	b = appendUint(append(b, `", "fsgid": "`...), uint64(c.FSGID))
	b = appendHexNumber(append(b, `", "capeff": "`...), c.CapEff)
	return append(b, '"')
}

func (c *Creds) appendTo(b []byte) []byte {
	b = c.COE.appendMembers(append(b, '{'))
	b = appendUint(append(b, `, "securebits": "`...), uint64(c.Securebits))
	return append(b, `"}`...)
}

func (i *Inode) appendTo(b []byte) []byte {
	b = appendUint(append(b, `{"uid": "`...), uint64(i.UID))
	b = appendUint(append(b, `", "gid": "`...), uint64(i.GID))
	b = appendOctal(append(b, `", "mode": "`...), i.Mode)
	b = appendHexNumber(append(b, `", "s_magic": "`...), uint64(i.Magic))
	b = appendText(append(b, `", "s_id": "`...), "s_id", i.SID)
	b = appendHex(append(b, `, "s_uuid": "`...), i.UUID[:])
	return append(b, `"}`...)
}

func (d *Dev) appendTo(b []byte) []byte {
	b = appendUint(append(b, `{"major": "`...), uint64(d.Major))
	b = appendUint(append(b, `", "minor": "`...), uint64(d.Minor))
	return append(b, `"}`...)
}

func (p *Path) appendTo(b []byte) []byte {
	b = append(b, '{')
	if p.HasDev {
		b = p.Dev.appendTo(append(b, `"dev": `...))
		b = append(b, `, `...)
	}
	if p.Created {
		b = appendHex(append(b, `"owner": "`...), p.Owner)
		b = appendUint(append(b, `", "instance": "`...), p.Instance)
		b = append(b, `", `...)
	}
	if p.Type != "" {
		b = appendString(append(b, `"type": "`...), "type", string(p.Type))
		b = append(b, `, `...)
	}
	b = append(b, `"pathname": "`...)
	if p.Missing == "" {
		b = appendText(b, "pathname", p.Pathname)
	} else {
		b = append(b, `", "path_missing": "`...)
		b = appendString(b, "path_missing", p.Missing)
	}
	if p.Abspath != nil {
		b = appendText(append(b, `, "abspath": "`...), "abspath", p.Abspath)
	}
	return append(b, '}')
}

func (d *Dentry) appendTo(b []byte) []byte {
	b = append(b, '{')
	if d.HasInode {
		b = d.Inode.appendTo(append(b, `"inode": `...))
		b = append(b, `, `...)
	}
	b = d.Path.appendTo(append(b, `"path": `...))
	return append(b, '}')
}

func (f *File) appendTo(b []byte) []byte {
	b = appendUint(append(b, `{"flags": "`...), uint64(f.Flags))
	b = f.Inode.appendTo(append(b, `", "inode": `...))
	b = f.Path.appendTo(append(b, `, "path": `...))
	b = append(b, `, "digest": "`...)
	if f.DigestMissing == "" {
		return append(appendHex(b, f.Digest), `"}`...)
	}
	b = append(b, `", "digest_missing": "`...)
	return append(appendString(b, "digest_missing", f.DigestMissing), '}')
}

func (s *Sock) appendTo(b []byte) []byte {
	b = appendInt(append(b, `{"family": "`...), int64(s.Family))
	b = appendInt(append(b, `", "type": "`...), int64(s.Type))
	b = appendInt(append(b, `", "protocol": "`...), int64(s.Protocol))
	b = appendHex(append(b, `", "owner": "`...), s.Owner)
	return append(b, `"}`...)
}

func (p *Perm) appendTo(b []byte) []byte {
	b = appendUint(append(b, `{"uid": "`...), uint64(p.UID))
	b = appendUint(append(b, `", "gid": "`...), uint64(p.GID))
	b = appendUint(append(b, `", "cuid": "`...), uint64(p.CUID))
	b = appendUint(append(b, `", "cgid": "`...), uint64(p.CGID))
	b = appendOctal(append(b, `", "mode": "`...), p.Mode)
	b = appendHex(append(b, `", "owner": "`...), p.Owner)
	return append(b, `"}`...)
}

func (a *Addr) appendTo(b []byte) []byte {
	switch a.Family {
	case AddrInet:
		b = appendUint(append(b, `{"af_inet": {"port": "`...), uint64(a.Port))
		b = appendUint(append(b, `", "address": "`...), uint64(a.Address))
		return append(b, `"}}`...)
	case AddrInet6, AddrInet6Short:
		b = appendUint(append(b, `{"af_inet6": {"port": "`...), uint64(a.Port))
		if a.Family == AddrInet6 {
			b = appendUint(append(b, `", "flow": "`...), uint64(a.Flow))
			b = appendUint(append(b, `", "scope": "`...), uint64(a.Scope))
		}
		b = appendHex(append(b, `", "address": "`...), a.Address6[:])
		return append(b, `"}}`...)
	case AddrUnix:
		b = appendText(append(b, `{"af_unix": {"address": "`...), "address", a.Path)
		return append(b, `}}`...)
	case AddrOther:
		b = appendHex(append(b, `{"af_other": {"address": "`...), a.Digest)
		return append(b, `"}}`...)
	}
	return append(b, `{}`...)
}
