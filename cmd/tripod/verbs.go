package main

import "github.com/spf13/cobra"

// verbs are all commands of tripod, in the order of the help text.
func verbs(a *app) []*cobra.Command {
	own := []*cobra.Command{
		newRun(a),
		newPs(a),
		newExec(a),
		newEnter(a),
		newLogs(a),
		newAttach(a),
		newStop(a),
		newKill(a),
		newRm(a),
		newWait(a),
		newInspect(a),
		newStats(a),
		newCapture(a),
		newCp(a),
		newNsenter(a),
		newLsns(a),
		newImageCommand(a),
		newExplain(a),
		newWhy(a),
		newLint(a),
		newShare(a),
		newWhois(a),
		newPstree(a),
		newSs(a),
		newDoctor(a),
		newKubeconfig(a),
		newBackup(a),
		newRestore(a),
		newService(a),
		newVersion(a),
		newInstallLinks(a),
		newCompletion(a),
		newMan(a),
		newSettle(a),
	}
	return append(own, newAPIVerbs(a)...)
}
