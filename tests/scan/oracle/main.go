// Command ignore-oracle answers questions about ignore files with the code that container builders run.
//
// It reads one JSON request per line and writes one JSON answer per line. Bytes (file contents, patterns,
// paths) travel as base64, because neither has to be UTF-8.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	gofs "io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

type request struct {
	File  []byte   `json:"file"`  // an ignore file
	Paths [][]byte `json:"paths"` // paths to match one by one
	Tree  [][]byte `json:"tree"`  // paths of a tree to walk, directories with a slash at the end
	Root  string   `json:"root"`  // a real directory to walk instead
}

type answer struct {
	Error    string   `json:"error"`    // the file could not be read, or the matcher not be made
	Valid    bool     `json:"valid"`    // every pattern can be made, and matched without an error
	Patterns [][]byte `json:"patterns"` // as the matcher keeps them, with the "!" in front
	Whole    []bool   `json:"whole"`    // per path: MatchesOrParentMatches
	Walked   []bool   `json:"walked"`   // per path: MatchesUsingParentResults, from the root down
	Emitted  [][]byte `json:"emitted"`  // what the filtered walk emits, in its order
}

func main() {
	// The scanner of patterns reports bytes that are not UTF-8 there, and goes on.
	os.Stderr, _ = os.Open(os.DevNull)
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for {
		var asked request
		if err := in.Decode(&asked); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		if err := encoder.Encode(respond(asked)); err != nil {
			panic(err)
		}
		out.Flush()
	}
}

func respond(asked request) (result answer) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(asked.File))
	if err != nil {
		result.Error = err.Error()
		return
	}
	result.Valid = true
	for _, pattern := range patterns {
		result.Valid = result.Valid && valid(pattern)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		result.Error = err.Error()
		return
	}
	for _, pattern := range matcher.Patterns() {
		sign := ""
		if pattern.Exclusion() {
			sign = "!"
		}
		result.Patterns = append(result.Patterns, []byte(sign+pattern.String()))
	}
	for _, one := range asked.Paths {
		whole, err := matcher.MatchesOrParentMatches(string(one))
		if err != nil {
			result.Error = err.Error()
			return
		}
		walked, err := matchDownwards(matcher, string(one))
		if err != nil {
			result.Error = err.Error()
			return
		}
		result.Whole = append(result.Whole, whole)
		result.Walked = append(result.Walked, walked)
	}
	if asked.Tree != nil || asked.Root != "" {
		if result.Emitted, err = walk(asked, patterns); err != nil {
			result.Error = err.Error()
		}
	}
	return
}

// valid reports whether a pattern can be used; some are refused only when they are matched for the first time.
func valid(pattern string) bool {
	// An exception is not looked at before something is excluded.
	matcher, err := patternmatcher.New([]string{"**", pattern})
	if err == nil && len(matcher.Patterns()) == 2 && !matcher.Patterns()[1].Exclusion() {
		matcher, err = patternmatcher.New([]string{pattern})
	}
	if err == nil {
		_, err = matcher.MatchesOrParentMatches("x")
	}
	return err == nil
}

func matchDownwards(matcher *patternmatcher.PatternMatcher, name string) (matched bool, err error) {
	var above patternmatcher.MatchInfo
	for at := 0; at <= len(name); at++ {
		if at == len(name) || name[at] == '/' {
			if matched, above, err = matcher.MatchesUsingParentResults(name[:at], above); err != nil {
				return
			}
		}
	}
	return
}

func walk(asked request, patterns []string) ([][]byte, error) {
	var tree fsutil.FS
	if asked.Root != "" {
		real, err := fsutil.NewFS(asked.Root)
		if err != nil {
			return nil, err
		}
		tree = real
	} else {
		tree = newMemory(asked.Tree)
	}
	filtered, err := fsutil.NewFilterFS(tree, &fsutil.FilterOpt{ExcludePatterns: patterns})
	if err != nil {
		return nil, err
	}
	emitted := [][]byte{}
	err = filtered.Walk(context.Background(), "/", func(name string, entry gofs.DirEntry, err error) error {
		if err == nil {
			emitted = append(emitted, []byte(name))
		}
		return err
	})
	return emitted, err
}

// memory is a tree of names: for each directory, its members; the root is "".
type memory map[string][]*types.Stat

func newMemory(paths [][]byte) memory {
	tree := memory{}
	for _, one := range paths {
		name := string(one)
		stat := &types.Stat{Path: strings.TrimSuffix(name, "/"), Mode: 0o644}
		if strings.HasSuffix(name, "/") {
			stat.Mode = uint32(gofs.ModeDir | 0o755)
		}
		parent, _ := path.Split(stat.Path)
		parent = strings.TrimSuffix(parent, "/")
		tree[parent] = append(tree[parent], stat)
	}
	for _, members := range tree {
		sort.Slice(members, func(i, j int) bool { return members[i].Path < members[j].Path })
	}
	return tree
}

func (tree memory) Open(string) (io.ReadCloser, error) { return nil, gofs.ErrNotExist }

func (tree memory) Walk(_ context.Context, _ string, visit gofs.WalkDirFunc) error {
	return tree.walk("", visit)
}

// walk visits as filepath.WalkDir does: fs.SkipDir leaves out a directory's members, or a file's later siblings.
func (tree memory) walk(directory string, visit gofs.WalkDirFunc) error {
	for _, member := range tree[directory] {
		err := visit(member.Path, &fsutil.DirEntryInfo{Stat: member}, nil)
		if err == gofs.SkipDir {
			if !member.IsDir() {
				return nil
			}
			continue
		}
		if err == nil && member.IsDir() {
			err = tree.walk(member.Path, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
