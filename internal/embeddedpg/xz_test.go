package embeddedpg_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// storedXZ wraps the data in the .xz format without compressing it, so that the
// tests need no xz program. See tukaani.org/xz/xz-file-format.txt.
func storedXZ(data []byte) []byte {
	var file bytes.Buffer
	withCRC := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	}
	pad := func() {
		for file.Len()%4 != 0 {
			file.WriteByte(0)
		}
	}
	flags := []byte{0, 1} // The check of a block is a CRC32.
	file.WriteString("\xfd7zXZ\x00")
	file.Write(withCRC(flags)[:2])
	file.Write(withCRC(flags)[2:])

	// One block, of the filter LZMA2 with a dictionary of 64 KiB.
	begin := file.Len()
	file.Write(withCRC([]byte{2, 0, 0x21, 1, 8, 0, 0, 0}))
	control := byte(1) // A stored chunk that resets the dictionary; those after it don't.
	for rest := data; len(rest) > 0; control = 2 {
		chunk := rest[:min(len(rest), 1<<16)]
		rest = rest[len(chunk):]
		file.WriteByte(control)
		file.Write(binary.BigEndian.AppendUint16(nil, uint16(len(chunk)-1)))
		file.Write(chunk)
	}
	file.WriteByte(0)
	unpadded := file.Len() - begin + 4
	pad()
	file.Write(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(data)))

	// The index: one record.
	index := binary.AppendUvarint([]byte{0, 1}, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(len(data)))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = withCRC(index)
	file.Write(index)

	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, flags...)
	file.Write(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(footer)))
	file.Write(footer)
	file.WriteString("YZ")
	return file.Bytes()
}
