// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// Each method reads the member name into to, if that is the member the parser
// has come to, and else does nothing. See Parser.more.

func (p *Parser) coeMembers(to *COE) {
	p.u32("uid", &to.UID)
	p.u32("euid", &to.EUID)
	p.u32("suid", &to.SUID)
	p.u32("gid", &to.GID)
	p.u32("egid", &to.EGID)
	p.u32("sgid", &to.SGID)
	p.u32("fsuid", &to.FSUID)
	p.u32("fsgid", &to.FSGID)
	p.u64("capeff", &to.CapEff)
}

func (p *Parser) creds(name string, to *Creds) {
	if !p.is(name) {
		return
	}
	*to = Creds{}
	for at := p.begin(); p.more(&at); {
		p.coeMembers(&to.COE)
		p.u32("securebits", &to.Securebits)
	}
	p.advance()
}

func (p *Parser) inode(name string, to *Inode) {
	if !p.is(name) {
		return
	}
	*to = Inode{}
	for at := p.begin(); p.more(&at); {
		p.u32("uid", &to.UID)
		p.u32("gid", &to.GID)
		p.u32("mode", &to.Mode)
		p.u32("s_magic", &to.Magic)
		p.text("s_id", &to.SID)
		p.bytes16("s_uuid", &to.UUID)
	}
	p.advance()
}

func (p *Parser) dev(name string, to *Dev) {
	if !p.is(name) {
		return
	}
	*to = Dev{}
	for at := p.begin(); p.more(&at); {
		p.u32("major", &to.Major)
		p.u32("minor", &to.Minor)
	}
	p.advance()
}

func (p *Parser) path(name string, to *Path) {
	if !p.is(name) {
		return
	}
	*to = Path{}
	var kind string
	for at := p.begin(); p.more(&at); {
		if p.is("dev") {
			to.HasDev = true
			p.dev("dev", &to.Dev)
		}
		if p.is("owner") || p.is("instance") {
			to.Created = true
			p.digest("owner", &to.Owner)
			p.u64("instance", &to.Instance)
		}
		p.word("type", &kind)
		p.text("pathname", &to.Pathname)
		p.word("path_missing", &to.Missing)
		p.text("abspath", &to.Abspath)
	}
	to.Type = PathType(kind)
	p.advance()
}

func (p *Parser) dentry(name string, to *Dentry) {
	if !p.is(name) {
		return
	}
	*to = Dentry{}
	for at := p.begin(); p.more(&at); {
		if p.is("inode") {
			to.HasInode = true
			p.inode("inode", &to.Inode)
		}
		p.path("path", &to.Path)
	}
	p.advance()
}

func (p *Parser) file(name string, to *File) {
	if !p.is(name) {
		return
	}
	*to = File{}
	for at := p.begin(); p.more(&at); {
		p.u32("flags", &to.Flags)
		p.inode("inode", &to.Inode)
		p.path("path", &to.Path)
		p.digest("digest", &to.Digest)
		p.word("digest_missing", &to.DigestMissing)
	}
	p.advance()
}

func (p *Parser) sock(name string, to *Sock) {
	if !p.is(name) {
		return
	}
	*to = Sock{}
	for at := p.begin(); p.more(&at); {
		p.i32("family", &to.Family)
		p.i32("type", &to.Type)
		p.i32("protocol", &to.Protocol)
		p.digest("owner", &to.Owner)
	}
	p.advance()
}

func (p *Parser) perm(name string, to *Perm) {
	if !p.is(name) {
		return
	}
	*to = Perm{}
	for at := p.begin(); p.more(&at); {
		p.u32("uid", &to.UID)
		p.u32("gid", &to.GID)
		p.u32("cuid", &to.CUID)
		p.u32("cgid", &to.CGID)
		p.u32("mode", &to.Mode)
		p.digest("owner", &to.Owner)
	}
	p.advance()
}

func (p *Parser) addr(name string, to *Addr) {
	if !p.is(name) {
		return
	}
	*to = Addr{}
	for at := p.begin(); p.more(&at); {
		if p.is("af_inet") {
			to.Family = AddrInet
			for at := p.begin(); p.more(&at); {
				p.u16("port", &to.Port)
				p.u32("address", &to.Address)
			}
			p.advance()
		}
		if p.is("af_inet6") {
			to.Family = AddrInet6Short
			for at := p.begin(); p.more(&at); {
				p.u16("port", &to.Port)
				if p.is("flow") || p.is("scope") {
					to.Family = AddrInet6
					p.u32("flow", &to.Flow)
					p.u32("scope", &to.Scope)
				}
				p.bytes16("address", &to.Address6)
			}
			p.advance()
		}
		if p.is("af_unix") {
			to.Family = AddrUnix
			for at := p.begin(); p.more(&at); {
				p.text("address", &to.Path)
			}
			p.advance()
		}
		if p.is("af_other") {
			to.Family = AddrOther
			for at := p.begin(); p.more(&at); {
				p.digest("address", &to.Digest)
			}
			p.advance()
		}
	}
	p.advance()
}
